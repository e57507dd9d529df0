"""What Python programs hold: labels, scores, open stacks, pictures' quality, own taggers."""
