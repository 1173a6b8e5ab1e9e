"""`python -m benchmarks.synthetic_defect_realism ROOT`: do synthetic defects look like real ones?

For a folder in the MVTec layout, defects are rendered onto its good images at the size that
networks read. A cross-validated forest then separates them from the real ones by simple features
of image and mask. One line for each defect type: AUROC (0.5: cannot be separated) and the most
important features. It prints aggregates only, and is no part of run.py, which measures speed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold

from capsule_inspection.data.crop import crop_mask
from capsule_inspection.data.preprocessing import PreprocessConfig, PreprocessedImage, preprocess
from capsule_inspection.synthetic.defects import DEFECT_TYPES, render_defect

CONFIG = PreprocessConfig(roi="auto", margin=0.05, image_size=(192, 512))
_RING_PX = 7
_RIM_PX = 3
_MAX_FEATURES = 3
_FOLDS, _REPEATS = 5, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each defect type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="folder in the MVTec layout")
    parser.add_argument("--ratio", type=int, default=4, help="synthetic defects for a real one")
    parser.add_argument("--types", nargs="+", choices=DEFECT_TYPES, default=DEFECT_TYPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--medians", action="store_true", help="also the features' medians")
    options = parser.parse_args(arguments)
    good = [
        preprocess(_read(path), CONFIG) for path in _list_images(options.root / "train" / "good")
    ]
    for defect_type in options.types:
        real = list(_measure_real(options.root, defect_type))
        synthetic = list(
            _measure_synthetic(good, defect_type, len(real) * options.ratio, seed=options.seed)
        )
        auroc, ranked = compare(real, synthetic, seed=options.seed)
        used = ", ".join(f"{name} {importance:.2f}" for name, importance in ranked[:_MAX_FEATURES])
        counts = f"{len(real)} real, {len(synthetic)} synthetic"
        print(f"{defect_type:15} AUROC {auroc:.2f}   {counts}   {used}")
        for name, _ in ranked if options.medians else []:
            pair = (np.median([row[name] for row in rows]) for rows in (real, synthetic))
            print("    {:20} real {:9.3f}  synthetic {:9.3f}".format(name, *pair))
    return 0


def compare(
    real: list[dict[str, float]], synthetic: list[dict[str, float]], *, seed: int
) -> tuple[float, list[tuple[str, float]]]:
    """AUROC of a cross-validated forest, and all features with their importance, largest first."""
    names = list(real[0])
    table = np.array([[row[name] for name in names] for row in real + synthetic])
    labels = np.repeat([1, 0], [len(real), len(synthetic)])
    forest = RandomForestClassifier(
        200, class_weight="balanced", min_samples_leaf=2, random_state=seed
    )
    folds = RepeatedStratifiedKFold(n_splits=_FOLDS, n_repeats=_REPEATS, random_state=seed)
    scores = np.zeros(len(labels))
    for fitted, held_out in folds.split(table, labels):
        forest.fit(table[fitted], labels[fitted])
        scores[held_out] += forest.predict_proba(table[held_out])[:, 1]
    importances = forest.fit(table, labels).feature_importances_
    ranked = sorted(zip(names, importances, strict=True), key=lambda pair: -pair[1])
    return float(roc_auc_score(labels, scores)), ranked


def measure(image: np.ndarray, foreground: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Features of one defect: its mask's shape and place, its colours, contrast and sharpness.

    Shapes: image (H, W, 3) uint8 RGB; foreground and mask (H, W) uint8 of 0 and 1.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return {**_shape(mask), **_place(mask, foreground), **_look(lab, mask, foreground)}


def _shape(mask: np.ndarray) -> dict[str, float]:
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)
    _, sides, _ = cv2.minAreaRect(points)
    area, length = float(mask.sum()), max(sides) + 1
    hull = max(1.0, cv2.contourArea(cv2.convexHull(points)))
    return {
        "area": area,
        "length": length,
        "aspect": (min(sides) + 1) / length,
        "solidity": area / hull,
        "roughness": sum(cv2.arcLength(c, closed=True) for c in contours) / np.sqrt(area),
        "contours": float(len(contours)),
    }


def _place(mask: np.ndarray, foreground: np.ndarray) -> dict[str, float]:
    rows, columns = np.nonzero(mask)
    x, y, width, height = cv2.boundingRect(foreground)
    return {
        "along": (columns.mean() - x) / width,
        "across": (rows.mean() - y) / height,
    }


def _look(lab: np.ndarray, mask: np.ndarray, foreground: np.ndarray) -> dict[str, float]:
    """Colours against a ring around the mask, in CIELAB; gradients in levels of L a pixel."""
    ring = (_grown(mask, _RING_PX) > mask) & (foreground > 0)
    around = lab[ring] if ring.any() else lab[foreground > 0]
    inside, light = lab[mask > 0], lab[..., 0]
    centre = np.median(around, axis=0)
    contrast = np.linalg.norm(inside - centre, axis=1)
    gradient = np.hypot(
        cv2.Sobel(light, -1, 1, 0, scale=0.125), cv2.Sobel(light, -1, 0, 1, scale=0.125)
    )
    rim = _grown(mask, _RIM_PX) > cv2.erode(mask, np.ones((3, 3), np.uint8))
    low, high = np.percentile(inside[:, 0] - centre[0], (5, 95))
    return {
        "ring_light": float(centre[0]),
        "contrast": float(contrast.mean()),
        "visible": float((contrast > 6).mean()),
        "darkest": float(low),
        "lightest": float(high),
        "redness": float(inside[:, 1].mean() - centre[1]),
        "texture": float(inside[:, 0].std() / (around[:, 0].std() + 1)),
        "gradient": float(gradient[mask > 0].mean()),
        "rim_gradient": float(gradient[rim].mean()),
        "sharpness": float(np.percentile(np.abs(cv2.Laplacian(light, -1))[mask > 0], 90)),
    }


def _grown(mask: np.ndarray, reach_px: int) -> np.ndarray:
    return cv2.dilate(mask, np.ones((2 * reach_px + 1,) * 2, np.uint8))


def _measure_real(root: Path, defect_type: str) -> Iterator[dict[str, float]]:
    for path in _list_images(root / "test" / defect_type):
        crop = preprocess(_read(path), CONFIG)
        is_defect = _read(root / "ground_truth" / defect_type / f"{path.stem}_mask.png")[..., 0] > 0
        mask = crop_mask(is_defect.astype(np.uint8), box=crop.box, image_size=CONFIG.image_size)
        yield measure(crop.image, crop.foreground, mask)


def _measure_synthetic(
    good: list[PreprocessedImage], defect_type: str, count: int, *, seed: int
) -> Iterator[dict[str, float]]:
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        crop = good[int(rng.integers(len(good)))]
        synthetic = render_defect(crop.image, crop.foreground, defect_type, rng)
        yield measure(synthetic.image, crop.foreground, synthetic.mask)


def _list_images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"{path}: cannot be read as an image. Leave it out, or repair it.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    raise SystemExit(main())
