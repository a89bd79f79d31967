"""Who hears what a job measures while it runs: nobody, Weights & Biases, or the parent of a rank."""
