"""Many machines: Ray runs the shards of a scoring and the fits of a stack."""
