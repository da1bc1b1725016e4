"""Services for all stages that depend on none: progress, whole-or-nothing output, checkpoints, limits of the machine."""
