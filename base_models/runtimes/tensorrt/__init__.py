"""TensorRT: engines made, kept under a key of all that matters, tried, and run."""
