"""2 · What was asked for: config.json is read, checked and explained."""
