"""Parent and init: the protocol between them, the plan, and what init does."""
