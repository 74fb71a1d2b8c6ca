"""System calls that Python lacks: the only package that calls cffi."""
