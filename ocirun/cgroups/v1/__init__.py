"""The controllers of cgroup v1, one module each."""
