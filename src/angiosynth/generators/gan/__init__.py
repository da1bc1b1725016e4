"""The GANs: networks, losses, one training loop, synthesis."""
