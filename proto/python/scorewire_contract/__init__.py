"""The part of the contract that protobuf messages cannot express.

`schema` has the rules for names, versions and fingerprints. `coding` turns rows
into graph inputs. `scoring` scores rows with a bundle, and checks its golden
rows. `typed` makes the typed service of a model. `bundle` reads and writes
bundles. `records` reads and writes the spool of records. `cli` is the `scorewire`
command. Training, server and clients import this package and never each other.
"""
