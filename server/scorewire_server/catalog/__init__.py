"""Which versions there are, which of them serve, and what operators have set."""
