"""Generated views: W-search, W-perturb, cached expert views, and the cache that keeps and serves them."""
