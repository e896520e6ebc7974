"""What peers write, and what is done about it."""
