"""Readers of other formats than single-file NIfTI. Each gives voxels and a NIfTI header with only type, shape and grid."""
