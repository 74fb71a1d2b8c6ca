"""Checks of this host: what containers may use here, found out by making the calls."""
