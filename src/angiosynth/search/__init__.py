"""Sweeps: search spaces, Optuna's studies, workers, results."""
