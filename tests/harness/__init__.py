"""What integration tests are written with: bundles, runtimes, needs, leaks."""
