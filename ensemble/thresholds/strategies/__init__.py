"""Threshold strategies, a class each; `strategy` says what one must offer."""
