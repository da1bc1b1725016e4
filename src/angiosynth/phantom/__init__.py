"""Synthetic heads: sites of TOF-MRA with labelled vessels, to try everything without a patient's scan."""
