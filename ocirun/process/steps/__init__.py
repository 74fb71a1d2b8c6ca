"""The steps of init's plan: what is done before the root is entered, on entering it, and behind the gate."""
