"""Probes of a frozen encoder: features in, (metric, value) out."""
