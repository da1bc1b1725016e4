"""The U-net: network, loss, augmentation, one trainer, whole-volume prediction."""
