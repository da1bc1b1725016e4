"""Scans in, patches out: NIfTI, the cohort and its split, the embedded phantom, patch sets."""
