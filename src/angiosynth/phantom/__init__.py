"""Phantom: simulated TOF-MRA scans of several sites with labelled vessels, to try everything without scans of patients."""
