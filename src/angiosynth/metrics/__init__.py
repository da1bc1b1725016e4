"""Metrics of segmentations (overlap, surface distances, centre lines) and of patch sets (Frechet distance). No input or output."""
