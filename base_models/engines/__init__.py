"""TensorRT engines and reduced precision: made, kept, tried and compared before first use."""
