"""Models that XGBoost and LightGBM saved to files, and tables of rows that go with them."""
