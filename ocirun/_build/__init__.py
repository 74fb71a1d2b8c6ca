"""Build-time code: the launcher in C, and the generators. Not installed."""
