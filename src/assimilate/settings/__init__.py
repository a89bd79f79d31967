"""What a configuration may hold, which of it a run reads, and what makes two configurations the same. Torch-free."""
