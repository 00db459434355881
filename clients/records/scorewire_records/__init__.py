"""The records of predictions: from a server's spool to Parquet files or PostgreSQL, and queries."""
