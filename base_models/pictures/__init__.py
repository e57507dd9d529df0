"""From a file's bytes to the pixels a tagger sees: decoding, framing, resampling, hashes."""
