"""Pictures and score stores in an object store or behind a web address, with a local cache."""
