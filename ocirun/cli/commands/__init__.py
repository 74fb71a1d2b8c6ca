"""One file per verb: `run(call) -> exit status`."""
