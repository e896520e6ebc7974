"""Reads and writes captures as files."""
