"""Real clients with ocirun in the place of runc; `make clients`."""
