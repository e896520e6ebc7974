"""Captures as files, and how they are read."""
