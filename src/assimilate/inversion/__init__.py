"""In-domain GAN inversion: an encoder from images to W+ codes, then optimisation of each image's codes (Eq. 5)."""
