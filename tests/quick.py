"""Settings of trainings of less than a second, small data sets, and readers of results."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from small import SMALL_NETWORK, CommandResult

from capsule_inspection.integrity import FILES, checksums, seal

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
"""A training on the data of `draw_mvtec`; less than a second without imports."""
AUTOENCODER = (
    "model=autoencoder",
    "model.width=4",
    "model.depth=3",
    "model.bottleneck=8",
    "model.head_width=4",
    "model.corruption=cutout",
    "task.crop_size=[32,48]",
    "task.repeats=2",
    "task.batch_size=8",
)
"""A small autoencoder and short epochs, in addition to `SMALL` or `QUICK_DATA`."""
UNET = (
    "model=unet",
    "model.encoder=autoencoder",
    "+model.encoder_options.width=4",
    "model.encoder_depth=3",
    "model.decoder_channels=[8,8,8]",
    "model.weights=none",
    "task.crop_size=[32,48]",
    "task.repeats=1",
    "task.batch_size=8",
    "data.synthesis.variants=3",
)
"""The same for segmentation."""
CLASSIFIER = (*QUICK, "data=mvtec", "task.epochs=2")
"""Settings of the shared classifier."""
QUICK_DATA = tuple(setting for setting in QUICK if setting not in SMALL_NETWORK)
"""`QUICK` without its model."""
COUNTS = {"good": 8, "crack": 5, "poke": 5}
SIZE_PX = 40
ODD_NAME = "my parts, (a=b) & 50% 膠囊"
"""A folder name with characters that are special in shells, Hydra and codecs."""
TEMPORARY = {".part", ".partial", ".tmp"}


def noise(seed: int, *, size_px: int = SIZE_PX) -> Image.Image:
    """Coarse coloured noise, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.NEAREST)


def draw(path: Path, *, seed: int, size_px: int = SIZE_PX) -> Path:
    """Write one image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(seed, size_px=size_px).save(path)
    return path


def draw_mask(path: Path, *, size_px: int = SIZE_PX, empty: bool = False) -> Path:
    """Write a mask with a square, or an empty one."""
    pixels = np.zeros((size_px, size_px), np.uint8)
    pixels[5:15, 5:15] = 0 if empty else 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def draw_mvtec(root: Path, *, counts: Mapping[str, int] = COUNTS, first_seed: int = 0) -> Path:
    """Write a category in the MVTec layout: good images in train, defects with masks in test."""
    seed = first_seed
    for name, count in counts.items():
        for number in range(count):
            split = "train" if name == "good" else "test"
            draw(root / split / name / f"{number:03}.png", seed=seed)
            if name != "good":
                draw_mask(root / "ground_truth" / name / f"{number:03}_mask.png")
            seed += 1
    return root


def content(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder by relative path, without the run's lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def move_images(run: Path, place: Path) -> Path:
    """Copy a run's images to a folder, and let config.yaml name a folder that does not exist."""
    root = Path(record_of(run)["data"]["root"])
    config = (run / "config.yaml").read_text(encoding="utf-8")
    gone = config.replace(str(root), str(place / "gone"))
    assert gone != config
    (run / "config.yaml").write_text(gone, encoding="utf-8")
    accept_changes(run)
    return shutil.copytree(root, place / "moved")


def temporary_files(folder: Path) -> list[Path]:
    """Temporary files below a folder."""
    return [path for path in folder.rglob("*") if path.suffix in TEMPORARY]


def record_of(run: Path) -> dict:
    """The content of run.json."""
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def accept_changes(run: Path, **changed: Any) -> None:
    """Change values of run.json, and renew the checksums of the files and of itself."""
    record = record_of(run) | changed
    sealed = seal(record | {FILES: checksums(run, record.get(FILES, {}))})
    (run / "run.json").write_text(json.dumps(sealed), encoding="utf-8")


def rows_of(folder: Path, name: str = "predictions.csv") -> list[dict[str, str]]:
    """The rows of a CSV file in a folder, by column."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def metrics_of(folder: Path) -> dict[str, Any]:
    """The content of metrics.json."""
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def check_error(result: CommandResult, *expected: str, status: int = 1) -> None:
    """Check for one message on stderr that contains the expected texts, and no traceback."""
    output = result.err + result.out
    assert result.status == status, output
    assert result.err.startswith("error: "), output
    assert result.err.count("error: ") == 1, output
    assert "Traceback" not in output, output
    for text in expected:
        assert text in result.err, f"{text!r} is not in: {result.err}"
