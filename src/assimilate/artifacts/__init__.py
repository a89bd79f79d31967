"""What a run is made of: artifacts keyed by content, the chain of them, and those that a user brings. Torch-free."""
