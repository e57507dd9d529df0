"""Level-2 learners: one file a learner, all under one protocol."""
