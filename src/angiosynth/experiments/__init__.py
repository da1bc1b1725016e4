"""Experiments: MLflow tracking and Optuna sweeps."""
