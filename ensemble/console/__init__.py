"""Commands and what they print: results on standard output, progress on standard error."""
