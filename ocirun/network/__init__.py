"""The loopback device of a new network namespace."""
