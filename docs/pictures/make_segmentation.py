"""Makes the pictures of docs/segmentation.md, from synthetic capsules; no run is needed.

Boxes, scores, maps and heat maps are illustrations made from the masks, not predictions of a model.
Run: python docs/pictures/make_segmentation.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from capsule_inspection.data.crop import crop_mask, resize_crop
from capsule_inspection.data.roi import Box, box_around, fit_aspect
from capsule_inspection.reports.plots import style
from capsule_inspection.synthetic.defects import DEFECT_TYPES, SyntheticDefect, render_defect
from capsule_inspection.synthetic.scene import Scene, render_capsule

HERE = Path(__file__).parent
SIZE_PX = 800
VIEW_PX = (256, 720)
"""Height and width of the view of a capsule."""
CROP_PX, TRAINING_CROP_PX = (192, 512), (96, 160)
"""As in conf/task/segmentation.yaml."""
CROP_MARGIN, VIEW_MARGIN = 0.05, 0.015

COLOURS = {
    "crack": style.SKY,
    "faulty_imprint": style.YELLOW,
    "poke": style.GREEN,
    "scratch": style.PURPLE,
    "squeeze": style.BLUE,
}
"""Of the eight by Okabe and Ito those that are visible on orange as well as on black."""
OBJECT_COLOURS = (style.YELLOW, style.PURPLE, style.ORANGE)

CAPSULE_SEED = 10
DEFECTS = (("crack", 42, 0.97), ("crack", 39, 0.91), ("poke", 35, 0.88))
"""Type, seed and invented score of the synthetic defects in the first picture."""
EXAMPLE_SEEDS = {"crack": 2, "faulty_imprint": 3, "poke": 6, "scratch": 4, "squeeze": 2}
GOOD_SEED = 5
IMAGES_PER_CLASS = 60
SIZES = {
    "image": (style.BLACK, "o"),
    "crop around the part": (style.VERMILION, "s"),
    "training crop around the defect": (style.BLUE, "D"),
}
"""Possible inputs of a network, with colour and marker in the chart."""
SIZES_SEED = (2, 0, 8)


def box_of(foreground: np.ndarray, image_size: tuple[int, int], margin: float) -> Box:
    """The box around a capsule, found as training finds it."""
    box = box_around(foreground, margin=margin)
    return fit_aspect(box, size=foreground.shape[:2], image_size=image_size)


def view(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """The view of an image or a mask."""
    box = box_of(foreground, VIEW_PX, VIEW_MARGIN)
    if image.ndim == 2:
        return crop_mask(image, box=box, image_size=VIEW_PX)
    return resize_crop(image, box=box, image_size=VIEW_PX)[0]


def tinted(image: np.ndarray, mask: np.ndarray, colour: str, *, line_px: int = 2) -> np.ndarray:
    """The image with a mask in a colour, half transparent, and its outline."""
    rgb = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)], np.float32)
    mixed, inside = image.copy(), mask > 0
    mixed[inside] = np.rint(0.45 * image[inside] + 0.55 * rgb).astype(np.uint8)
    outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mixed, outline, -1, rgb.tolist(), line_px, cv2.LINE_AA)
    return mixed


def save_small(figure: Figure, name: str) -> None:
    """As a PNG of 64 levels a colour: grain costs half as much, and no eye sees the difference."""
    levels = np.rint(style.figure_to_array(figure) / 4.0) * 4
    picture = Image.fromarray(np.minimum(levels, 255).astype(np.uint8))
    picture.save(HERE / name, optimize=True)


def panel(axes: Axes, image: np.ndarray, title: str = "") -> None:
    style.hide_axes(axes)
    axes.imshow(image, interpolation="antialiased")
    axes.set_title(title, fontsize=10.5, fontweight="normal", loc="left")


def label(axes: Axes, mask: np.ndarray, text: str, colour: str) -> None:
    """A text above a region, moved into the image where it would reach out of it."""
    x, y, _, height = cv2.boundingRect(mask)
    below = y < 40
    place = (min(x - 5, mask.shape[1] - 14 * len(text)), y + height + 9 if below else y - 9)
    drawn = axes.text(*place, text, color=colour, fontsize=10.5, fontweight="bold")
    drawn.set_verticalalignment("top" if below else "bottom")
    drawn.set_path_effects([patheffects.withStroke(linewidth=3, foreground="black")])


# Picture 1: one capsule, and the outputs of five tasks.


def capsule_with_defects() -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """View of a capsule with the defects of DEFECTS, a mask for each, and the foreground."""
    scene = render_capsule(np.random.default_rng(CAPSULE_SEED), size_px=SIZE_PX)
    image, masks = scene.image, []
    for defect_type, seed, _ in DEFECTS:
        made = render_defect(image, scene.foreground, defect_type, np.random.default_rng(seed))
        image = made.image
        masks.append(view(made.mask, scene.foreground))
    return view(image, scene.foreground), masks, view(scene.foreground, scene.foreground)


@style.styled
def tasks() -> Figure:
    image, masks, foreground = capsule_with_defects()
    figure = style.new_figure(10.0, 6.3, dpi=style.GRID_DPI)
    axes = figure.subplots(3, 2).flat
    panel(axes[0], image, "the image")
    draw_classes(axes[1], image, masks)
    draw_boxes(axes[2], image, masks)
    draw_objects(axes[3], image, masks)
    panel(axes[4], image, "anomaly map: a score for each pixel, no class")
    axes[4].imshow(anomaly_illustration(masks, foreground), cmap="inferno", vmin=0, vmax=1)
    panel(axes[5], image, "explanation: what supports the class “crack”")
    heat = explanation_illustration(np.max(masks[:2], axis=0))
    axes[5].imshow(heat, cmap="inferno", alpha=0.15 + 0.6 * np.sqrt(heat), vmin=0, vmax=1)
    return figure


def draw_classes(axes: Axes, image: np.ndarray, masks: Sequence[np.ndarray]) -> None:
    """One mask with a class for each pixel, and what the colours mean."""
    for (defect_type, _, _), mask in zip(DEFECTS, masks, strict=True):
        image = tinted(image, mask, COLOURS[defect_type])
    panel(axes, image, "semantic segmentation: a class for each pixel")
    patches = [
        Patch(color=COLOURS[defect_type], label=defect_type)
        for defect_type in dict.fromkeys(k for k, *_ in DEFECTS)
    ]
    axes.legend(handles=patches, loc=(0.14, 0.06), labelcolor="white", ncols=2)


def draw_boxes(axes: Axes, image: np.ndarray, masks: Sequence[np.ndarray]) -> None:
    panel(axes, image, "object detection: a box with class and score")
    for (defect_type, _, score), mask in zip(DEFECTS, masks, strict=True):
        x, y, width, height = cv2.boundingRect(mask)
        place, colour = (x - 4, y - 4), COLOURS[defect_type]
        axes.add_patch(Rectangle(place, width + 8, height + 8, fill=False, ec=colour, lw=2))
        label(axes, mask, f"{defect_type} {score:.2f}", colour)


def draw_objects(axes: Axes, image: np.ndarray, masks: Sequence[np.ndarray]) -> None:
    """Each object in a colour of its own; a number tells those of a class apart."""
    names: list[str] = []
    for (defect_type, _, _), mask, colour in zip(DEFECTS, masks, OBJECT_COLOURS, strict=True):
        image = tinted(image, mask, colour)
        names.append(f"{defect_type} {1 + sum(name.startswith(defect_type) for name in names)}")
    panel(axes, image, "instance segmentation: a mask for each object")
    for name, mask, colour in zip(names, masks, OBJECT_COLOURS, strict=True):
        label(axes, mask, name, colour)


def anomaly_illustration(masks: Sequence[np.ndarray], foreground: np.ndarray) -> np.ndarray:
    """The masks, blurred, on faint smooth noise; nothing outside of the capsule. About 0 to 1."""
    grain = np.random.default_rng(0).standard_normal(foreground.shape, np.float32)
    noise = cv2.GaussianBlur(grain, (0, 0), 10)
    glow = sum(blurred / blurred.max() for blurred in map(blur, masks))
    return (0.95 * glow + 0.06 * np.clip(1 + noise / noise.std(), 0, 3)) * blur(foreground, 4.0)


def blur(mask: np.ndarray, sigma_px: float = 10.0) -> np.ndarray:
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma_px)


def explanation_illustration(mask: np.ndarray) -> np.ndarray:
    """A mask as coarse as a classifier's last features, 4x12, enlarged again: 0 to 1."""
    coarse = cv2.resize(mask.astype(np.float32), (12, 4), interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), 0.7)
    fine = cv2.resize(coarse, mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(fine / fine.max(), 0, 1)


# Picture 2: the classes and their masks.


def example(defect_type: str, seed: int) -> tuple[Scene, SyntheticDefect]:
    """A synthetic capsule with a defect of a type, or "good"."""
    rng = np.random.default_rng([seed, 77])
    scene = render_capsule(rng, size_px=SIZE_PX)
    if defect_type == "good":
        return scene, SyntheticDefect(scene.image, np.zeros(scene.foreground.shape, np.uint8))
    return scene, render_defect(scene.image, scene.foreground, defect_type, rng)


@style.styled
def defects() -> Figure:
    """A row for each class: the image, its mask, and the place of the defect enlarged."""
    figure = style.new_figure(8.2, 8.5, dpi=style.GRID_DPI)
    grid = figure.subplots(6, 3, width_ratios=[VIEW_PX[1], VIEW_PX[1], VIEW_PX[0]])
    for row, defect_type in zip(grid, ("good", *DEFECT_TYPES), strict=True):
        scene, made = example(defect_type, EXAMPLE_SEEDS.get(defect_type, GOOD_SEED))
        image, mask = view(made.image, scene.foreground), view(made.mask, scene.foreground)
        panel(row[0], image, defect_type)
        overlay = tinted(image, mask, COLOURS[defect_type]) if mask.any() else image
        panel(row[1], overlay, "mask" if mask.any() else "mask: empty")
        panel(row[2], more_contrast(image[enlarged(mask)]), "enlarged*")
    patches = [Patch(color=colour, label=defect_type) for defect_type, colour in COLOURS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches))
    return figure


def more_contrast(image: np.ndarray) -> np.ndarray:
    """Each colour stretched about its median: scratches are fainter than print screens show."""
    middle = np.median(image, axis=(0, 1))
    return np.clip(middle + 1.8 * (image - middle), 0, 255).astype(np.uint8)


def enlarged(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a square around a defect; without one, around the right half's print."""
    x, y, width, height = cv2.boundingRect(mask) if mask.any() else (420, 80, 130, 90)
    side = min(max(round(1.2 * max(width, height)), 110), mask.shape[0])
    left = int(np.clip(x + width // 2 - side // 2, 0, mask.shape[1] - side))
    top = int(np.clip(y + height // 2 - side // 2, 0, mask.shape[0] - side))
    return slice(top, top + side), slice(left, left + side)


# Picture 3: how little of an image is defect.


def three_sizes(defect_type: str, rng: np.random.Generator) -> dict[str, SyntheticDefect]:
    """A synthetic defect in the image, in the crop, and in a training crop around it."""
    scene = render_capsule(rng, size_px=SIZE_PX)
    made = render_defect(scene.image, scene.foreground, defect_type, rng)
    box = box_of(scene.foreground, CROP_PX, CROP_MARGIN)
    image = resize_crop(made.image, box=box, image_size=CROP_PX)[0]
    mask = crop_mask(made.mask, box=box, image_size=CROP_PX)
    training_crop = training_crop_around(mask, rng)
    views = (
        made,
        SyntheticDefect(image, mask),
        SyntheticDefect(image[training_crop], mask[training_crop]),
    )
    return dict(zip(SIZES, views, strict=True))


def training_crop_around(mask: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a training crop around a random pixel of the defect."""
    rows, columns = np.nonzero(mask)
    chosen = rng.integers(len(rows))
    top = int(np.clip(rows[chosen] - TRAINING_CROP_PX[0] // 2, 0, CROP_PX[0] - TRAINING_CROP_PX[0]))
    left = int(
        np.clip(columns[chosen] - TRAINING_CROP_PX[1] // 2, 0, CROP_PX[1] - TRAINING_CROP_PX[1])
    )
    return slice(top, top + TRAINING_CROP_PX[0]), slice(left, left + TRAINING_CROP_PX[1])


def fractions_of(defect_type: str) -> dict[str, np.ndarray]:
    """Fraction of defect pixels in IMAGES_PER_CLASS images, for each of SIZES: (N,)."""
    seeds = ([number, DEFECT_TYPES.index(defect_type), 5] for number in range(IMAGES_PER_CLASS))
    drawn = [three_sizes(defect_type, np.random.default_rng(seed)) for seed in seeds]
    return {size: np.array([views[size].mask.mean() for views in drawn]) for size in SIZES}


@style.styled
def defect_pixels(fractions: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Above a defect at three sizes; below the fractions of all classes."""
    figure = style.new_figure(9.0, 6.4, dpi=style.GRID_DPI)
    above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.6])
    views = three_sizes("crack", np.random.default_rng(SIZES_SEED))
    ratios = [views[size].mask.shape[1] / views[size].mask.shape[0] for size in SIZES]
    for axes, size in zip(above.subplots(1, 3, width_ratios=ratios), SIZES, strict=True):
        image, mask = views[size].image, views[size].mask
        line_px = max(1, round(mask.shape[0] / 200))
        panel(axes, tinted(image, mask, COLOURS["crack"], line_px=line_px), size)
        axes.set_xlabel(f"{mask.mean():.1%} is defect", labelpad=4)
    draw_fractions(below.subplots(), fractions)
    return figure


def draw_fractions(axes: Axes, fractions: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Median of each class, and its 10th to 90th percentile."""
    for row, of_sizes in enumerate(fractions.values()):
        for step, (size, (colour, marker)) in enumerate(SIZES.items()):
            low, median, high = np.quantile(of_sizes[size], [0.1, 0.5, 0.9])
            y = row + 0.25 * (step - 1)
            axes.plot([low, high], [y, y], color=colour, lw=4, alpha=0.3)
            name = size if row == 0 else None
            axes.plot(median, y, marker, color=colour, label=name, ms=7, ls="none")
            axes.text(1.06 * high, y, f"{median:.1%}", va="center", color=colour, fontsize=9.5)
    axes.set_xscale("log")
    axes.set_xlim(0.001, 1)
    axes.set_xticks([0.001, 0.01, 0.1, 1], ["0.1%", "1%", "10%", "100%"])
    axes.set_yticks(range(len(fractions)), list(fractions))
    axes.set_ylim(len(fractions) - 0.5, -0.5)
    axes.set_xlabel(
        f"fraction of defect pixels: median of {IMAGES_PER_CLASS} synthetic images, "
        "bar: 10th to 90th percentile"
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)


def main() -> None:
    cv2.setNumThreads(1)
    save_small(tasks(), "segmentation_tasks.png")
    save_small(defects(), "segmentation_classes.png")
    fractions = {defect_type: fractions_of(defect_type) for defect_type in DEFECT_TYPES}
    save_small(defect_pixels(fractions), "segmentation_defect_pixels.png")


if __name__ == "__main__":
    main()
