"""What both engines run in Python: the prediction path, and the time limit of a graph's run."""
