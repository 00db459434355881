"""What the long-running services have in common: settings, logs, metrics, and how they start and stop."""
