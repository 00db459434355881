"""Fitted pipeline in, verified bundle out."""
