"""Comparison of models from finished runs: metrics, statistical tests, tables, plots, a page."""
