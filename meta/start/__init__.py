"""Answers without labels: published thresholds, counts, and unlabelled images."""
