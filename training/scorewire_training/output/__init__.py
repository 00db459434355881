"""What a training run writes: the bundle with its reports, the feature table, the run in MLflow."""
