"""Who may call: reads the access file, and verifies credentials that take more than a look at a table."""
