"""The steps of init's plan: assemble (outside the root), enter, start (behind the gate)."""
