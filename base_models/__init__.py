"""Level 1: from image files to every tagger's score of every tag, in a resumable store."""
