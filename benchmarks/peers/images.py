"""The images of a comparison, written once in the layouts that both sides read.

Source: synthetic capsules, or a data set in the layout of MVTec AD. All files are copied once; the
other folders have hard links to the copies.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from benchmarks.sizes import DATA_FOLDER, FULL
from capsule_inspection.data.synthetic_dataset import load_or_render_dataset
from capsule_inspection.workflows.hardware import available_cores

GOOD = "good"
TRAIN_FRACTION = 0.8
_TEXTURES, _TEXTURE_PX = 20, 256

Classes = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Images:
    """Folders with the same images.

    `classes` has train, val and test, each with a folder for every class. `one_class` is in the
    layout of MVTec AD, with masks. `input` has the images to predict. `textures` are for the
    synthetic defects of DRAEM.
    """

    classes: Path
    one_class: Path
    input: Path
    textures: Path

    @property
    def good(self) -> int:
        """Number of images in one_class/train."""
        return sum(1 for _ in (self.one_class / "train" / GOOD).iterdir())

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, sorted."""
        return sorted(path.name for path in (self.classes / "train").iterdir())


def render(images: int) -> Path:
    """Synthetic capsules, of which `images` are for training, in the layout of MVTec AD."""
    scale = images / sum(TRAIN_FRACTION * count for count in FULL.counts.values())
    counts = {name: max(3, round(count * scale)) for name, count in FULL.counts.items()}
    return load_or_render_dataset(
        DATA_FOLDER / "synthetic",
        seed=0,
        size_px=FULL.size_px,
        counts=counts,
        workers=available_cores(),
    )


def prepare_images(root: Path, folder: Path, *, images: int, predicted: int) -> Images:
    """Write the folders of `Images` below `folder`.

    `images` are for training; there are fewer where the data set at `root` has fewer. Raises
    ValueError where it is not in the layout of MVTec AD, or a class has fewer than three images.
    """
    found = Images(*(folder / name for name in ("classes", "one_class", "input", "textures")))
    classes = _find_classes(root)
    scale = images / (TRAIN_FRACTION * sum(map(len, classes.values())))
    files = []
    for name, paths in classes.items():
        chosen = paths[: min(len(paths), max(3, round(len(paths) * scale)))]
        for part, of in _split(chosen).items():
            for path in of:
                target = found.classes / part / name / f"{path.parents[1].name}_{path.name}"
                _copy(path, target)
                files.append(target)
                _add_to_one_class(path, target, found.one_class, part=part, name=name)
    for number, path in enumerate(islice(cycle(files), predicted)):
        _link(path, found.input / f"{number:05d}{path.suffix}")
    _write_textures(found.textures)
    return found


def _find_classes(root: Path) -> Classes:
    folders = sorted(path for path in root.glob("t*/*") if path.parent.name in ("train", "test"))
    classes: dict[str, list[Path]] = {}
    for folder in folders:
        classes.setdefault(folder.name, []).extend(sorted(folder.glob("*.png")))
    few = [name for name, paths in classes.items() if len(paths) < 3]
    if GOOD not in classes or len(classes) < 2 or few:
        raise ValueError(
            f"{root}: expected the layout of MVTec AD, train/{GOOD} and test/<class> with at "
            f"least 3 PNG files of each class; found {few or sorted(classes) or 'no such folder'}. "
            "Name another folder with data.root=, or leave it out to render images."
        )
    return classes


def _split(paths: Sequence[Path]) -> dict[str, Sequence[Path]]:
    """At least one image for each of training, validation and test."""
    train = min(max(1, round(TRAIN_FRACTION * len(paths))), len(paths) - 2)
    val = train + (len(paths) - train) // 2
    return {"train": paths[:train], "val": paths[train:val], "test": paths[val:]}


def _add_to_one_class(source: Path, image: Path, folder: Path, *, part: str, name: str) -> None:
    is_training = part == "train" and name == GOOD
    _link(image, folder / ("train" if is_training else "test") / name / image.name)
    mask = source.parents[2] / "ground_truth" / name / f"{source.stem}_mask.png"
    if mask.is_file():
        _copy(mask, folder / "ground_truth" / name / f"{image.stem}_mask.png")


def _write_textures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(_TEXTURES):
        squares = rng.integers(0, 256, (4 + number, 4 + number, 3), dtype=np.uint8)
        texture = cv2.resize(squares, (_TEXTURE_PX, _TEXTURE_PX), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:02d}.png"), texture)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)
