"""Uploads: bodies that are too large to be held in memory."""
