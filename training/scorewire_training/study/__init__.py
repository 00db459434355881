"""The search for a model: candidates, their tuning with Optuna, learning curves, where XGBoost is fitted."""
