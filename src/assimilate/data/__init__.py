"""Data sets as uint8 arrays, augmentation of whole batches, and the data module that serves views of them."""
