"""The workshop: what makes pictures and tags into sets that people train on."""
