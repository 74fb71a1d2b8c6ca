"""6 · How much it may use."""
