"""How prediction calls are read from bytes and written to bytes: positional rows, tensors, typed messages."""
