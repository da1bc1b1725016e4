"""Sweeps: search spaces, Optuna studies, worker processes, results."""
