"""A load generator for scoring servers."""
