"""The controllers of cgroup v1, one file each."""
