"""Network devices: lo, those that are moved into a container, those that are made for it."""
