"""From label files to truth and folds: read, matched, grouped, and doubted."""
