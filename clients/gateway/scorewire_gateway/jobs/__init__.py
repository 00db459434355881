"""Training jobs: uploaded tables, and the processes that make features and bundles of them."""
