"""What cannot be true together and what follows from what: read, checked, bound to a vocabulary."""
