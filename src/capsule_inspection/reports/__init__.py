"""Plots, tables and pages, from arrays or from finished run folders; never from models."""
