"""Rows as they come: the same numbers as causal scoring, with bounded memory, on the stream's own clock."""
