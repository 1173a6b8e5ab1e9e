from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from capsule_inspection.contracts import DataError
from capsule_inspection.data import synthetic
from capsule_inspection.data.layouts import list_mvtec
from capsule_inspection.data.synthetic import ensure_synthetic
from capsule_inspection.files import unfinished_folder

SETTINGS: dict[str, Any] = {
    "seed": 3,
    "size_px": 64,
    "counts": {"good": 3, "crack": 1},
    "workers": 0,
}
WriteImage = Callable[..., Path]


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch, write_image: WriteImage) -> list[Path]:
    """Folders drawn, by a stand-in that writes one image."""
    drawn: list[Path] = []

    def draw_dataset(folder: Path, **settings: Any) -> None:
        time.sleep(0.05)  # time enough for others to come in between
        drawn.append(folder)
        write_image(folder / "train/good/000.png", seed=settings["seed"])

    monkeypatch.setattr("capsule_inspection.synthesis.dataset.draw_dataset", draw_dataset)
    return drawn


def test_what_is_drawn_is_listed_as_mvtec(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = ensure_synthetic(
        tmp_path, **SETTINGS, progress=lambda done, total: calls.append((done, total))
    )
    listing = list_mvtec(root)
    assert listing.classes == ("good", "crack")
    assert len(listing.entries) == 4
    assert calls[-1] == (4, 4)


def test_it_is_drawn_once(tmp_path: Path, drawings: list[Path]) -> None:
    first = ensure_synthetic(tmp_path, **SETTINGS)
    assert ensure_synthetic(tmp_path, **SETTINGS) == first
    assert drawings == [first]
    assert first.parent == tmp_path


def test_what_a_killed_process_left_of_the_same_drawing_is_removed(
    tmp_path: Path, drawings: list[Path]
) -> None:
    folder = ensure_synthetic(tmp_path, **SETTINGS)
    folder.rename(tmp_path / "elsewhere")
    left = unfinished_folder(folder)
    (left / "000.png").write_bytes(b"half")
    assert ensure_synthetic(tmp_path, **SETTINGS) == folder
    assert not left.exists()


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"size_px": 65}, {"counts": {"good": 2, "crack": 1}}]
)
def test_other_parameters_have_another_folder(
    tmp_path: Path, drawings: list[Path], change: dict[str, Any]
) -> None:
    ensure_synthetic(tmp_path, **SETTINGS)
    ensure_synthetic(tmp_path, **(SETTINGS | change))
    assert len(set(drawings)) == 2


def test_order_zeros_and_workers_do_not_matter(tmp_path: Path, drawings: list[Path]) -> None:
    ensure_synthetic(tmp_path, **SETTINGS)
    counts = {"poke": 0, "crack": 1, "good": 3}
    ensure_synthetic(tmp_path, **(SETTINGS | {"counts": counts, "workers": 2}))
    assert len(drawings) == 1


def test_another_version_of_the_drawing_has_another_folder(
    tmp_path: Path, drawings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_synthetic(tmp_path, **SETTINGS)
    monkeypatch.setattr(synthetic, "DRAWING_VERSION", 99)
    ensure_synthetic(tmp_path, **SETTINGS)
    assert len(set(drawings)) == 2


def test_the_name_can_be_read_and_needs_no_quotes(tmp_path: Path, drawings: list[Path]) -> None:
    name = ensure_synthetic(tmp_path, **SETTINGS).name
    assert name.startswith("capsule-4x64px-seed3-")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


def test_several_runs_at_once_draw_once(tmp_path: Path, drawings: list[Path]) -> None:
    with ThreadPoolExecutor(4) as pool:
        roots = list(pool.map(lambda _: ensure_synthetic(tmp_path, **SETTINGS), range(4)))
    assert drawings == [roots[0]]
    assert len(set(roots)) == 1


def test_a_drawing_that_failed_is_begun_again(
    tmp_path: Path, drawings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("capsule_inspection.synthesis.dataset.draw_dataset", fail)
        with pytest.raises(DataError, match=r"\(No space left on device\).*data\.root"):
            ensure_synthetic(tmp_path, **SETTINGS)
    assert ensure_synthetic(tmp_path, **SETTINGS) == drawings[0]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, drawings: list[Path]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written.*data\.root"):
        ensure_synthetic(tmp_path / "file" / "data", **SETTINGS)


def test_a_kind_that_cannot_be_drawn_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dent.*data\.counts"):
        ensure_synthetic(tmp_path, **(SETTINGS | {"counts": {"good": 1, "dent": 1}}))
