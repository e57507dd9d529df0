"""A page on which people settle doubtful tags: what is asked, in which order, and the page."""
