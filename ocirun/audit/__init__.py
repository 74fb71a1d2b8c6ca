"""Audit what a process in a container could do: one module for each family of findings."""
