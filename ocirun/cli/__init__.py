"""1 · Someone typed a command."""
