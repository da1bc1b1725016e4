"""Flow matching: a network learns the velocity field that transports noise to pairs; sampling integrates it."""
