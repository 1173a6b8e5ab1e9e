"""Metrics, confidence intervals, paired tests and decision thresholds, on arrays."""
