"""Tags as people want them: one file a format."""
