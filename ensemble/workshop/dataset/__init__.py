"""Training sets: what is wrong with captions, what to leave out, and how to take it back."""
