"""The commands for images; `seqae.cli.routes` says when they take the place of those for series."""
