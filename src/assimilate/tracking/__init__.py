"""Trackers log what a job measures while it runs: to Weights & Biases, MLflow, TensorBoard, or nowhere."""
