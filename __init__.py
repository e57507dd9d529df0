"""tagstack: a stacked ensemble for image tagging, with per-tag thresholds and proof of its gain."""

__version__ = "0.1.0"
