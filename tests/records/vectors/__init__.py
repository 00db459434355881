"""Segments of a spool that both implementations of the format must read and write alike.

`python -m tests.records.vectors` writes them here. Beside each NAME.segment, NAME.json
tells what a reader finds in it: blocks with headers and bodies, and damage. Missing
numbers are null there. `hashes.json` has keyed hashes.
"""
