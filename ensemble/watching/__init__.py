"""Folders that are watched: what changed, whether it is written to its end, what failed."""
