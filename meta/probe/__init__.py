"""Probes: linear heads on the taggers' own features, fitted on the user's labels."""
