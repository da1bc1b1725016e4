"""Where and how precisely torch computes: device, precision, several processes."""
