"""Import of a lab's scans into the BIDS folder of a site: pairing, checks, pseudonyms."""
