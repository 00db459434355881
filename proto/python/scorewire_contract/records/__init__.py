"""The spool of records: the files that an engine writes and a shipper reads.

`docs/spool-format.md` describes the format. `identity` makes the ids of starts,
writers and predictions. `blocks` has the header that every block begins with.
`source`, `rows` and `ledger` are the bodies of blocks, and `segments` reads the
blocks of a file, also of one that is damaged.
"""
