"""What answers calls. `port` is what an engine is to the control plane; `reference` is one in Python."""
