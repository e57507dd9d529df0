"""The stack: rungs, ladder, gate, rehearsal, tuning, and its files."""
