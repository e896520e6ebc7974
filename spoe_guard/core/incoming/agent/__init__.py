"""What agents write."""
