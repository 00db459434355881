"""Python SDK of the Scorewire scoring server."""
