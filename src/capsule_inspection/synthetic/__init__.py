"""Draws capsules and paints defects: data out of nothing, for training and for tests."""
