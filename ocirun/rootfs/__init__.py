"""The root file system: mounts, devices, pivot_root, masked and read-only paths."""
