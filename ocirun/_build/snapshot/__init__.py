"""The fast start: memory, dump, audit and thaw of an initialised interpreter."""
