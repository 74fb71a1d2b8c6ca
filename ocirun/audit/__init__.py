"""What a process in a container would hold: one file for each family of findings."""
