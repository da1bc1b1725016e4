"""Exports of a released set to the formats of other tools, one module per format."""
