"""How good scores and decisions are: one ranking, one set of counts, resamples; numpy alone."""
