"""CRIU's RPC, for checkpoint and restore."""
