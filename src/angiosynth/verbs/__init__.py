"""Implement the commands that are not stages of dvc.yaml, among them segment, release, sweep and doctor."""
