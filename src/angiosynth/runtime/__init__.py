"""Services independent of any stage: progress, atomic output, checkpoints, resource limits, signals, secrets."""
