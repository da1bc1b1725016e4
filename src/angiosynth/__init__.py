"""angiosynth: share what brain-vessel scans teach without sharing the scans."""

import os

# Scans are patients: nothing reports home, whichever library is imported first.
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__version__ = "1.0.0"
"""The version, by semantic versioning."""
