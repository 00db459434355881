"""The control plane of records: policy, sources, the shipper's process, and the ledger."""
