"""Readers of what others wrote, tried with what nobody would write; see docs/testing.md."""
