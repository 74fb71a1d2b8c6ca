"""The command line: reads argv, calls container/, prints results and errors."""
