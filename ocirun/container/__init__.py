"""3 · The thing with a life: recorded, created, started, killed, deleted."""
