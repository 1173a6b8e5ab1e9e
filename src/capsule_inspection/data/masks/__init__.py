"""Masks: what their values mean, and whether they agree with their images."""
