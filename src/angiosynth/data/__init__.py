"""Scans in, patches out: NIfTI, BIDS, the cohort and its split, patch sets."""
