"""Containers: state on disk, status, and one module for each operation."""
