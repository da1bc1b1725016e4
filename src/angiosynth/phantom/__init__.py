"""The drawn heads: two sites of TOF-MRA with labelled vessels, for trying everything without a scan."""
