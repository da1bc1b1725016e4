"""The package that shares a synthetic set: patches, card, audit, checksums, signature."""
