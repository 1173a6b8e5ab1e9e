"""The version of the drawings, apart from what draws: a warm start needs it, and no OpenCV."""

DRAWING_VERSION = 1
"""Raised whenever the same seed gives other images; tests/synthesis holds it against the bytes."""
