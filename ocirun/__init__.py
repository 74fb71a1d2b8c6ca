"""An OCI container runtime in Python."""
