"""4 · Two processes and their conversation."""
