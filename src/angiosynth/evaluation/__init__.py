"""Scores on patients: metrics, tables, the threshold baseline, transfer to a second site."""
