"""Input of scans: file formats, BIDS, cohort checks and split, patch sets."""
