"""What a synthetic set, its generator or its critic tells about the patients behind it: attacks, and controls that they must find."""
