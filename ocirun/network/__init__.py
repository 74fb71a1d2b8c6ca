"""8 · Whom it may talk to."""
