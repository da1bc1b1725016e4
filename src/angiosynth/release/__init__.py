"""Packages for sharing synthetic sets: patches, card, audit, checksums, signature."""
