"""Volumes in other formats than single-file NIfTI, each read into voxels and a NIfTI header with type, shape and grid alone."""
