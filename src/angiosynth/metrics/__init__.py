"""Scores of a segmentation and of a set: overlap, distances, centre lines, Frechet distance."""
