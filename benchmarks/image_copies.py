"""Large data sets in little time: copies of synthetic capsules, each with a random texture.

The texture is coarse and strong enough that no copy is a near-duplicate of another.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from benchmarks.sizes import DATA_FOLDER
from capsule_inspection.data.synthetic_dataset import load_or_render_dataset
from capsule_inspection.synthetic.defects import DEFECT_TYPES

_SQUARES = 16
_TEXTURE_DEVIATION = 14


def ensure_image_copies(count: int, *, rendered: int, size_px: int) -> Path:
    """Folder of `count` images in the MVTec layout, copies of `rendered` ones; written once."""
    folder = DATA_FOLDER / f"copies-{count}-of-{rendered}-{size_px}px"
    if folder.is_dir():
        return folder
    source = load_or_render_dataset(
        DATA_FOLDER / "synthetic", seed=0, size_px=size_px, counts=counts_of(rendered), workers=2
    )
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_copies(source, unfinished, count=count)
    unfinished.rename(folder)
    return folder


def counts_of(images: int) -> dict[str, int]:
    """The same number of each defect type, and about two thirds good."""
    each = max(1, images // 15)
    return {"good": images - each * len(DEFECT_TYPES), **dict.fromkeys(DEFECT_TYPES, each)}


def write_copies(source: Path, folder: Path, *, count: int) -> None:
    """Write `count` copies of the images in `source`, each with a texture; masks are unchanged."""
    originals = sorted(path for path in source.rglob("*.png") if "ground_truth" not in path.parts)
    rng = np.random.default_rng(0)
    for number in range(count):
        original = originals[number % len(originals)]
        class_name = original.parent.name
        name = f"{number:06d}"
        target = folder / original.relative_to(source).with_name(f"{name}.png")
        _write(target, add_texture(_read(original), rng))
        mask = source / "ground_truth" / class_name / f"{original.stem}_mask.png"
        if mask.is_file():
            copy = folder / "ground_truth" / class_name / f"{name}_mask.png"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(mask, copy)


def add_texture(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a random texture of squares to an image (H, W, 3) uint8."""
    squares = rng.normal(0, _TEXTURE_DEVIATION, (_SQUARES, _SQUARES))
    texture = cv2.resize(squares, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image + texture[..., None], 0, 255).astype(np.uint8)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise RuntimeError(f"{path}: cannot be read")
    return image


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise RuntimeError(f"{path}: cannot be written")
