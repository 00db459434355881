"""How prediction calls are written as bytes: positional rows, tensors, and typed messages."""
