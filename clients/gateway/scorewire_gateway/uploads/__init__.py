"""Uploads: bodies that are too large to be held in memory, and tables that go back with their predictions."""
