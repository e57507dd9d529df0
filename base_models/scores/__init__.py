"""Level-1 scores at rest: the store of Parquet parts, and what is gathered from it."""
