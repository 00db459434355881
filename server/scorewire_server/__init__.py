"""The gRPC scoring server."""
