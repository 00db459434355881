"""Which versions exist, which of them serve, and what operators have set."""
