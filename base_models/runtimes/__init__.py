"""One file a backend; each opens a model file as a session that maps image batches to outputs."""
