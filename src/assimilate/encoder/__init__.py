"""Backbones, projectors and the encoder f that they form."""
