"""One threshold per tag, fitted out of fold for what the decoder leaves."""
