from __future__ import annotations

import numpy as np

from capsule_inspection.data.bit_depth import scale

same = np.testing.assert_array_equal


def test_scaling_rounds_to_the_nearest_level() -> None:
    for bits in (8, 10, 12, 14, 16):
        values = np.arange(2**bits, dtype=np.uint16)
        expected = np.rint(values / (2**bits - 1) * 255)
        same(scale(values, bits), expected)
        same(scale(values, bits, inverted=True), expected[::-1])
