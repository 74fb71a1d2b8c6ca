"""Network devices: lo, host devices moved into a container, devices created for it."""
