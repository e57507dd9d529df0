"""What a fit does beside stacking: thresholds, the floor of the start, what it tells of itself."""
