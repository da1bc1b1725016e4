"""U-net: network, loss, augmentation, training, prediction of whole volumes."""
