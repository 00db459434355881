"""The reference engine, on grpc.aio: runs wherever Python runs; the native engine is compared with it."""
