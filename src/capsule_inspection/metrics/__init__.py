"""Figures of merit and their intervals, on arrays; no files, no models."""
