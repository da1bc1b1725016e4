"""GANs: networks, losses, training step and sampling."""
