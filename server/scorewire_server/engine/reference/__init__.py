"""The reference engine: grpc.aio, in Python. It is what other engines are compared with."""
