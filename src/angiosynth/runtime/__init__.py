"""What every stage needs and that knows none of them: progress, output, checkpoints, precision."""
