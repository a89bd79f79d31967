"""StyleGAN2, its adversarial training, and the protocol through which inversion and views see every generator."""
