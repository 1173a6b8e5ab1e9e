"""Small data sets of coarse noise, a training on them of less than a second, and what is left."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from small import SMALL_NETWORK, Answer

QUICK = (
    *SMALL_NETWORK,
    "data.roi=none",
    "data.workers=1",
    "task.image_size=[32,32]",
    "task.epochs=1",
    "trainer=cpu",
    "trainer.threads=1",
    "task.batch_size=16",
)
"""A training on `draw_mvtec` of less than a second, once everything is imported."""
AUTOENCODER = (
    "model=autoencoder",
    "model.width=4",
    "model.depth=3",
    "model.bottleneck=8",
    "model.head_width=4",
    "model.corruption=cutout",
    "task.window=[32,48]",
    "task.views=2",
    "task.batch_size=8",
)
"""A small network and short epochs, to be added to `SMALL` or `QUICK_DATA`."""
UNET = (
    "model=unet",
    "model.encoder=autoencoder",
    "+model.encoder_options.width=4",
    "model.encoder_depth=3",
    "model.decoder_channels=[8,8,8]",
    "model.weights=none",
    "task.window=[32,48]",
    "task.views=1",
    "task.batch_size=8",
    "task.painting.variants=3",
)
"""The same for segmentation."""
CLASSIFIER = (*QUICK, "data=mvtec", "task.epochs=2")
"""How the classifier that tests share was trained."""
QUICK_DATA = tuple(setting for setting in QUICK if setting not in SMALL_NETWORK)
"""`QUICK` without its network."""
COUNTS = {"good": 8, "crack": 5, "poke": 5}
SIZE_PX = 40
ODD_NAME = "my parts, (a=b) & 50% 膠囊"
"""A folder's name with all that shells, Hydra and codecs trip over."""
TEMPORARY = {".part", ".partial", ".tmp"}


def noise(seed: int, *, size_px: int = SIZE_PX) -> Image.Image:
    """Coarse noise in colour, unlike that of every other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.NEAREST)


def draw(path: Path, *, seed: int, size_px: int = SIZE_PX) -> Path:
    """Write one image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(seed, size_px=size_px).save(path)
    return path


def draw_mask(path: Path, *, size_px: int = SIZE_PX, empty: bool = False) -> Path:
    """Write a mask with a marked square, or without one."""
    pixels = np.zeros((size_px, size_px), np.uint8)
    pixels[5:15, 5:15] = 0 if empty else 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def draw_mvtec(root: Path, *, counts: Mapping[str, int] = COUNTS, first_seed: int = 0) -> Path:
    """Write a category in the MVTec layout, with masks: good ones in train, defects in test."""
    seed = first_seed
    for name, count in counts.items():
        for number in range(count):
            part = "train" if name == "good" else "test"
            draw(root / part / name / f"{number:03}.png", seed=seed)
            if name != "good":
                draw_mask(root / "ground_truth" / name / f"{number:03}_mask.png")
            seed += 1
    return root


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name, with its bytes; the lock of a run is left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def move_images(run: Path, place: Path) -> Path:
    """Copy a run's images below a folder, and let the run know them where they are no more."""
    root = Path(record_of(run)["data"]["root"])
    config = (run / "config.yaml").read_text(encoding="utf-8")
    gone = config.replace(str(root), str(place / "gone"))
    assert gone != config
    (run / "config.yaml").write_text(gone, encoding="utf-8")
    return shutil.copytree(root, place / "moved")


def strays(folder: Path) -> list[Path]:
    """Temporary files that were left behind."""
    return [path for path in folder.rglob("*") if path.suffix in TEMPORARY]


def record_of(run: Path) -> dict:
    """What run.json says."""
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def rows_of(folder: Path, name: str = "predictions.csv") -> list[dict[str, str]]:
    """The rows of a table in a folder, by the names of its columns."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def figures_of(folder: Path) -> dict[str, Any]:
    """What metrics.json says."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def check_refusal(answer: Answer, *expected: str, status: int = 1) -> None:
    """One clear message on stderr that holds the expected words, and no traceback."""
    everything = answer.err + answer.out
    assert answer.status == status, everything
    assert answer.err.startswith("error: "), everything
    assert answer.err.count("error: ") == 1, everything
    assert "Traceback" not in everything, everything
    for text in expected:
        assert text in answer.err, f"{text!r} is not in: {answer.err}"
