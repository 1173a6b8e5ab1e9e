"""Renders capsules and synthetic defects, for training without data and for tests.

The versions are defined here, so that a warm start does not import OpenCV.
"""

CAPSULE_VERSION = 3
"""Raised whenever the same seed renders other images; tests/synthetic compares the pixels."""

DEFECT_VERSION = 2
"""Raised whenever the same seed renders another defect; tests/data/test_defect_bank.py compares."""
