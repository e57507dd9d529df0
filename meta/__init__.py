"""Learning on level-1 scores: folds, calibration, level-2 learners, the meta-model, the choice."""
