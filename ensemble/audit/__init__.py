"""What tags favour: slices of the images against the rest, and tags that come with company."""
