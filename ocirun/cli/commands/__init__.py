"""One module per verb: `run(call) -> exit status`."""
