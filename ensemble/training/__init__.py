"""What `tagstack train` does: material, training, what a column still tells, and the search."""
