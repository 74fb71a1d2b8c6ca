"""The conversation with CRIU, which freezes a container's processes into files and back."""
