"""From a folder in the repository to a version that may serve."""
