"""The controllers of cgroup v2, one module each."""
