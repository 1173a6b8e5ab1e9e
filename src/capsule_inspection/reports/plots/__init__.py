"""Plots from arrays and metrics; no module here reads a run folder."""
