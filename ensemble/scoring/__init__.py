"""Scoring as every job does it: taggers loaded and checked, pictures found, failures named."""
