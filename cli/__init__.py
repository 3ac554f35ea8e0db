"""The command line: one file per command; options, messages and exit codes, no logic."""
