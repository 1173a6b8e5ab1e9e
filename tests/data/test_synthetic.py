"""The embedded data set is drawn once for its parameters, by one of several runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from capsule_inspection.data import synthetic
from capsule_inspection.data.layouts import list_mvtec
from capsule_inspection.files import unfinished_folder
from capsule_inspection.types import DataError

DRAW = "capsule_inspection.synthetic.dataset.draw_dataset"


def ensure(folder: Path, **changed: Any) -> Path:
    usual = {"seed": 3, "size_px": 64, "counts": {"good": 3, "crack": 1}, "workers": 0}
    return synthetic.ensure_synthetic(folder, **(usual | changed))


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch, write_image: Callable[..., Path]) -> list[Path]:
    """Folders drawn, by a stand-in that writes one image."""
    drawn: list[Path] = []

    def draw_dataset(folder: Path, **settings: Any) -> None:
        time.sleep(0.05)  # time enough for others to come in between
        drawn.append(folder)
        write_image(folder / "train/good/000.png", seed=settings["seed"])

    monkeypatch.setattr(DRAW, draw_dataset)
    return drawn


def test_what_is_drawn_is_listed_as_mvtec(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    listing = list_mvtec(ensure(tmp_path, progress=lambda *now: calls.append(now)))
    assert listing.classes == ("good", "crack")
    assert len(listing.entries) == 4
    assert calls[-1] == (4, 4)


def test_each_parameter_that_matters_has_a_folder_of_its_own_drawn_once(
    tmp_path: Path, drawings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(4) as pool:
        (first,) = set(pool.map(lambda _: ensure(tmp_path), range(4)))
    assert ensure(tmp_path) == first
    # Neither order nor zeros nor workers matter.
    assert ensure(tmp_path, counts={"poke": 0, "crack": 1, "good": 3}, workers=2) == first
    assert drawings == [first]
    assert first.parent == tmp_path
    assert first.name.startswith("capsule-4x64px-seed3-")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", first.name)  # needs no quotes
    for change in ({"seed": 4}, {"size_px": 65}, {"counts": {"good": 2, "crack": 1}}):
        ensure(tmp_path, **change)
    monkeypatch.setattr(synthetic, "DRAWING_VERSION", 99)
    ensure(tmp_path)
    assert len(set(drawings)) == len(drawings) == 5


def test_a_drawing_that_was_killed_or_failed_is_begun_again(
    tmp_path: Path, drawings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DRAW, fail)
        with pytest.raises(DataError, match=r"\(No space left on device\).*data\.root"):
            ensure(tmp_path)
    assert ensure(tmp_path) == drawings[0]
    drawings[0].rename(tmp_path / "elsewhere")
    left = unfinished_folder(drawings[0])
    (left / "000.png").write_bytes(b"half")
    assert ensure(tmp_path) == drawings[0]
    assert not left.exists()


def test_a_folder_that_cannot_be_made_and_a_kind_that_cannot_be_drawn_are_errors(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written.*data\.root"):
        ensure(tmp_path / "file" / "data")
    with pytest.raises(DataError, match=r"dent.*data\.counts"):
        ensure(tmp_path, counts={"good": 1, "dent": 1})
