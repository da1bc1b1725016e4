"""Device, precision, threads and processes of torch's computations."""
