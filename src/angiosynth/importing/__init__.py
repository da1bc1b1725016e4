"""A lab's scans into a site's BIDS folder: pairing, checks, pseudonyms."""
