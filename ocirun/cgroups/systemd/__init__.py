"""The systemd cgroup driver: a container is a scope or slice of a manager."""
