"""`python -m seqae.cli` is `seqae`."""

from __future__ import annotations

from seqae.cli.main import main

if __name__ == "__main__":
    main()
