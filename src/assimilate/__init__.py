"""Assimilate learned views into contrastive learning: every row of the paper as one override."""

__version__ = "0.1.0"
