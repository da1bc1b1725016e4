"""Generators of labelled patches: the registry of kinds, and a folder for each family."""
