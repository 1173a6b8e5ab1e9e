"""Renders capsules and synthetic defects, for training without data and for tests.

The versions stand here because a warm start needs them, and no OpenCV.
"""

CAPSULE_VERSION = 3
"""Raised whenever the same seed renders other images; tests/synthetic compares the pixels."""

DEFECT_VERSION = 2
"""Raised whenever the same seed renders another defect; see test_synthetic_defects.py."""
