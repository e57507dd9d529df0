"""Settings, contracts of published taggers and rule files: the data that everything else reads."""
