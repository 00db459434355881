"""What the parts of Scorewire agree on, where a protobuf message cannot say it.

`schema` has the rules of names, versions and fingerprints; `coding` turns rows
into graph inputs; `bundle` reads and writes a bundle's files; `cli` is the
`scorewire` command. Training, server and clients import this package and never
each other.
"""
