"""Cgroups that systemd makes and owns: a container is a unit of the system or of a user."""
