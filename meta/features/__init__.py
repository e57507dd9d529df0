"""What a pair of image and tag shows the learners: scores, ranks, context, tag statistics."""
