"""Quality tags: from a score of each picture to tags by published cuts, and the scorers."""
