"""The recorder of the reference engine: lanes, and one thread that writes the spool.

It follows the rules of the native engine's crate `server/native/spool`. The format of
the spool is in docs/spool-format.md.
"""
