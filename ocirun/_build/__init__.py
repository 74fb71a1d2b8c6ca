"""What the build runs; not shipped."""
