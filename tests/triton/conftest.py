"""Tests in `client` run in an environment of their own; see __main__.py."""

collect_ignore = ["client"]
