"""What HAProxy writes."""
