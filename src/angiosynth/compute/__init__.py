"""Device, precision and processes of torch's computations."""
