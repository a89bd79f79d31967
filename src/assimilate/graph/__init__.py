"""What a run is made of: typed settings, the steps that they describe, and how a configuration becomes them."""
