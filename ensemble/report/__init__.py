"""A comparison as files: one self-contained page, JSON, Markdown and a tag table."""
