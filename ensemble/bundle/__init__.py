"""Everything a fitted stack needs in one folder, and the decisions made with it."""
