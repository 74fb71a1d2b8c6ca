"""5 · What the process sees as /."""
