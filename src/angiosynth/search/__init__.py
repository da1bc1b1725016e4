"""Sweeps: what is searched, Optuna's studies, workers."""
