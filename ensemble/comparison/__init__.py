"""Rungs on the same labelled images: metrics, paired resamples, what separates them."""
