"""What both engines run in Python: the prediction path, the words of failures, the time limit of runs."""
