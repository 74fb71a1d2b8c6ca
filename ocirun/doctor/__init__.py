"""What this host offers containers and what it lacks: each answer is a call that was made."""
