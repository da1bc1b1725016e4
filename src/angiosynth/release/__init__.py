"""The shareable set: patches, card, audit, checksums, and nothing of a patient."""
