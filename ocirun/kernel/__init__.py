"""The floor: the only package that knows cffi."""
