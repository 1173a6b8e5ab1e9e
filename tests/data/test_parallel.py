from __future__ import annotations

from capsule_inspection.data.parallel import in_order


def test_threads_keep_the_order() -> None:
    assert list(in_order(lambda value: value * 2, range(50), workers=3)) == list(range(0, 100, 2))
