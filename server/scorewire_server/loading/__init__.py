"""From a bundle's folder to a version that may serve."""
