"""The Open Inference Protocol over HTTP, in the server's messages of the same protocol over gRPC."""
