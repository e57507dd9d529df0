"""Pictures on their way to scores: intake, batches, and the tally of what became of each."""
