"""The three GANs: networks, losses, one training loop, synthesis."""
