"""Cgroups v1 and v2: create, join, limit, freeze, kill, statistics."""
