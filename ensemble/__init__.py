"""From stacked probabilities to tags, and the proof: rules, thresholds, comparison, reports."""
