"""The steps of init's plan: before the root is entered, on entering it, behind the gate."""
