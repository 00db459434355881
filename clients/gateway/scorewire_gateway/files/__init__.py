"""Folders of files for download: reports, model cards, schemas, tables of scores."""
