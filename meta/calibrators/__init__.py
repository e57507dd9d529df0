"""Calibrators: monotone maps from a tag's logit to the logit of an honest probability."""
