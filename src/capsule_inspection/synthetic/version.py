"""The versions of drawings and paintings, apart from what makes them.

A warm start needs them, and no OpenCV.
"""

DRAWING_VERSION = 3
"""Raised whenever the same seed gives other images; tests/synthesis holds it against the bytes."""

PAINTING_VERSION = 2
"""Raised whenever the same seed paints other defects onto the same image; see test_painted.py."""
