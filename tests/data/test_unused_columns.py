"""Which columns that are not used are warned of, and which are not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from capsule_inspection.data.table_columns import Column
from capsule_inspection.data.unused_columns import warn_unused

FILES = {"a.png": 1, "./a.png": 1, "m.png": 2}


def warnings(name: str, cells: Sequence[str]) -> tuple[str, ...]:
    rows = [["a.png", "good" if i % 2 else "crack", cell] for i, cell in enumerate(cells)]
    return warn_unused(
        ["path", "label", name],
        rows,
        {"path": Column(0), "label": Column(1)},
        open_roles=("mask", "split", "group"),
        find_image=FILES.get,
    )


@pytest.mark.parametrize(
    ("name", "cells", "role"),
    [
        ("Maske", ["", "m.png|m.png", "gone.png"], "mask"),
        ("Phase", ["Training", "Validierung", "Test"], "split"),
        ("Bauteil-Nr", ["1", "1", "2"], "group"),
        ("id", ["SN-1", "SN-1", "SN-2", "SN-3"], "group"),
    ],
)
def test_masks_splits_and_parts_are_recognised(name: str, cells: Sequence[str], role: str) -> None:
    (warning,) = warnings(name, cells)
    assert f'"data.columns={{{role}: {name}}}"' in warning


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("full path", ["./a.png", "./a.png"]),  # the image itself
        ("original", ["gone.png", "gone too.png"]),
        ("serial", ["1", "2", "3"]),  # one image each
        ("serial", ["1", "1", "1"]),
        ("width", ["640", "640", "800"]),
        ("code", ["D1", "D2", "D1", "D2"]),  # as many as there are classes
        ("camera", ["cam1", "cam2", "cam3", *["cam1"] * 20]),
        ("comment", ["", "", "test it"]),
        ("nothing", ["", "", ""]),
    ],
)
def test_other_columns_are_not_warned_of(name: str, cells: Sequence[str]) -> None:
    assert warnings(name, cells) == ()


def test_names_with_brackets_are_quoted_in_the_remedy() -> None:
    assert "{mask: 'M [0,1]'}" in warnings("M [0,1]", ["m.png"])[0]
