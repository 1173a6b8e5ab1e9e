"""Makes the pictures of README.md from runs on synthetic capsules; the second needs chromium.

Run: python train.py model=unet task.epochs=2 task.repeats=4
     python train.py experiment=quickstart
     python train.py model=patchcore split=holdout
     python compare.py runs=[<U-Net>,<quickstart>,<PatchCore>] output=outputs/readme_comparison
     python docs/pictures/make_readme.py <U-Net> outputs/readme_comparison
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from playwright.sync_api import sync_playwright

from capsule_inspection import Prediction, load_model
from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.reports.plots import overlays, style
from capsule_inspection.types import RunFiles

HERE = Path(__file__).parent
SHOWN = ("crack", "poke", "scratch", "squeeze")
WIDTH_PX = 900
SCREEN = {"width": 720, "height": 775}


def data_folder(run: Path) -> Path:
    """The folder of the drawn data set of a run."""
    return next(
        folder
        for folder in Path(load_stored(run / RunFiles.CONFIG).data.root).glob("capsule-*")
        if (folder / "test").is_dir() and folder.suffix == ""
    )


def typical_images(run: Path) -> list[str]:
    """Of each defect type the test image with the median Dice."""
    table = pd.read_csv(run / RunFiles.PREDICTIONS)
    test = table[table["split"] == "test"].sort_values("dice", kind="stable")
    of_type = (test[test["label"] == name] for name in SHOWN)
    return [found["path"].iloc[len(found) // 2] for found in of_type]


def draw(prediction: Prediction, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part, and the part with the predicted mask."""
    assert prediction.predicted_mask is not None
    x0, y0, x1, y1 = prediction.box
    part, mask = image[y0:y1, x0:x1], prediction.predicted_mask[y0:y1, x0:x1]
    plain = overlays.compose(part, width_px=WIDTH_PX)
    return plain, overlays.compose(part, mask=mask, outlines=(mask,), width_px=WIDTH_PX)


@style.styled
def draw_predictions(run: Path) -> None:
    """Two by two test images, with the prediction of each below it."""
    model, folder = load_model(run), data_folder(run)
    figure = style.new_figure(11, 9.4, dpi=110)
    layout = figure.get_layout_engine()
    assert layout is not None
    layout.set(h_pad=0.08, w_pad=0.08, hspace=0.05, wspace=0.04)
    grid = figure.add_gridspec(2, 2)
    for cell, path in zip(grid, typical_images(run), strict=True):
        image = np.asarray(Image.open(folder / path).convert("RGB"))
        prediction = model.predict(folder / path)
        rows = cell.subgridspec(2, 1)
        for number, panel in enumerate(draw(prediction, image)):
            axes = figure.add_subplot(rows[number])
            axes.imshow(panel)
            style.hide_axes(axes)
            if number == 0:
                true = Path(path).parent.name
                axes.set_title(f"{true}: predicted {prediction.label}", fontsize=21, pad=9)
    pixels = style.figure_to_array(figure)[..., :3]
    Image.fromarray(pixels).save(HERE / "readme_predictions.jpg", quality=90)


def photograph(page: Path) -> None:
    """The top of a comparison page, as a browser shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport=SCREEN, device_scale_factor=1.5, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=HERE / "readme_comparison.png")
        browser.close()


def main(run: Path, comparison: Path) -> None:
    """Both pictures."""
    draw_predictions(run)
    photograph(comparison / "comparison.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
