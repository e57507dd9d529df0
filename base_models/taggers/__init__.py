"""A tagger as files: contract, tag file, registry, hub, checks, and the opened whole."""
