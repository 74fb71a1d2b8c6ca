"""Intel RDT: a class of service and its monitoring group in resctrl."""
