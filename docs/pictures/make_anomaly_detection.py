"""Makes the pictures of docs/anomaly_detection.md from a run on synthetic capsules.

Run: python docs/pictures/make_anomaly_detection.py outputs/anomaly_detection/autoencoder/<time>
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from capsule_inspection.reports.plots.image_grid import Panel, draw_grid
from capsule_inspection.reports.plots.style import save
from capsule_inspection.synthetic.defects import DEFECT_TYPES, render_defect
from capsule_inspection.synthetic.nsa import render_nsa_patch
from capsule_inspection.synthetic.scene import render_capsule

HERE = Path(__file__).parent
COPIED = {
    "examples.png": "anomaly_detection_examples.png",
    "scores.png": "anomaly_detection_scores.png",
}
SIZE_PX = 500
BLUE = (86, 180, 233)


def draw_synthetic_defects() -> None:
    """Capsules with one synthetic defect of each type and an NSA patch, outlined."""
    rng = np.random.default_rng(4)
    other = render_capsule(rng, size_px=SIZE_PX)
    panels = []
    for defect_type in (*DEFECT_TYPES, "patch of another image (NSA)"):
        scene = render_capsule(rng, size_px=SIZE_PX)
        if defect_type in DEFECT_TYPES:
            made = render_defect(scene.image, scene.foreground, defect_type, rng)
        else:
            made = render_nsa_patch(
                scene.image, scene.foreground, other.image, other.foreground, rng
            )
        rows, columns = np.nonzero(scene.foreground)
        part = np.s_[rows.min() - 8 : rows.max() + 9, columns.min() - 8 : columns.max() + 9]
        image = np.ascontiguousarray(made.image[part])
        outline, _ = cv2.findContours(
            np.ascontiguousarray(made.mask[part]), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(image, outline, -1, BLUE, 1)
        panels.append(Panel(image, defect_type))
    pairs = [panels[first : first + 2] for first in range(0, len(panels), 2)]
    save(draw_grid(pairs), HERE / "synthetic_defects.png")


def main(run: Path) -> None:
    draw_synthetic_defects()
    for name, target in COPIED.items():
        picture = Image.open(run / "figures" / name).convert("RGB")
        picture.thumbnail((1200, 1200))
        picture.save(HERE / target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
