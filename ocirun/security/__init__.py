"""7 · What it may do."""
