"""The same photographs as several models see them: what each marked, or its map.

Of each class that photograph on which the models that mark pixels differ most. Reads thumbnails,
and maps by `dissent`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from capsule_inspection.reports import style
from capsule_inspection.reports.comparison.contestant import Contestant
from capsule_inspection.reports.comparison.dissent import (
    Seen,
    photographs_of_dissent,
    seen_by,
    whole_marks,
)
from capsule_inspection.reports.examples import MAP_COLOURS
from capsule_inspection.reports.overlays import colours_of, overlay
from capsule_inspection.reports.picture_rows import Rows, aspect_of, dark_rim, write_instead
from capsule_inspection.reports.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import DEFECT, RunFiles

MOST_MODELS = 4
_DRAWN_PX = 600
"""Width at which panels are drawn: about twice what they get, so that lines come out clean."""

_SMALLEST_PART = 1 / 4
"""Share of width and height of an image that is shown at least."""

_AROUND = 1.6
"""Size of the part that is shown by that of the defect."""

_NO_IMAGE = 200
"""Grey in place of an image that was not kept."""

Part = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of width and height."""

WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


def shown_in(contestants: Sequence[Contestant]) -> list[Contestant]:
    """Those that can be drawn, since they have maps; nobody where none of them marks pixels."""
    drawn = [one for one in contestants if (one.runs[0].path / RunFiles.MAPS).is_file()]
    drawn.sort(key=lambda one: whole_marks(one) is None)
    chosen = drawn[:MOST_MODELS]
    return chosen if chosen and whole_marks(chosen[0]) is not None else []


@style.styled
def marked_photographs(contestants: Sequence[Contestant]) -> Figure:
    """A row for a photograph of each class, a column for each model of `shown_in`."""
    images = photographs_of_dissent(contestants)
    if not images:
        return style.message("These models were not tested on the same photographs with masks.")
    seen = [seen_by(one, images) for one in contestants]
    rows = [[of_one.get(image) for of_one in seen] for image in images]
    pictures = [_picture(contestants, image, row) for image, row in zip(images, rows, strict=True)]
    defects = _defects(contestants)
    page = Rows(1 + len(contestants), len(rows), aspect_of(pictures), foot=0.7)
    _write_headings(page, contestants)
    first = contestants[0]
    for number, (image, row, picture) in enumerate(zip(images, rows, pictures, strict=True)):
        panels = [page.panel(number, place) for place in range(1 + len(row))]
        _entitle(panels[0], style.short(first.label[first.row_of[image]], 34))
        _draw_row(panels, row, picture, any_defect=len(defects))
    _draw_legend(page.below(0, 1 + len(contestants)), defects)
    page.entitle("Of each class the photograph on which what is marked differs most")
    return page.figure


def _entitle(axes: Axes, text: str, *, is_wrong: bool = False) -> None:
    colour = style.VERMILION if is_wrong else style.BLACK
    axes.set_title(text, fontsize=9.5, fontweight="normal", color=colour)


def _defects(contestants: Sequence[Contestant]) -> list[str]:
    """Names of the colours: all defect classes, then any defect where a model tells none apart."""
    longest = max((one.classes for one in contestants), key=len)
    nameless = any(whole_marks(one) is not None and not one.names_defects for one in contestants)
    return [*longest[1:], *([DEFECT] if nameless else [])]


def _write_headings(page: Rows, contestants: Sequence[Contestant]) -> None:
    page.write(0, "photograph, true defect outlined")
    for place, one in enumerate(contestants, start=1):
        what = "" if whole_marks(one) is not None else ": map, not enlarged"
        page.write(place, f"{style.short(one.name, 32)}{what}")


def _picture(
    contestants: Sequence[Contestant], image: str, row: Sequence[Seen | None]
) -> np.ndarray | None:
    """The photograph without padding, from the first run that kept it."""
    for one, seen in zip(contestants, row, strict=True):
        for run, index in one.places_of(image):
            path = run.image_path(index)
            if path.is_file():
                return without_padding(read_thumbnail(path), None if seen is None else seen.inside)
    return None


def _draw_row(
    panels: Sequence[Axes],
    row: Sequence[Seen | None],
    picture: np.ndarray | None,
    *,
    any_defect: int,
) -> None:
    known = next((seen for seen in row if seen is not None), None)
    part = WHOLE if known is None else _part_around(known, row)
    for axes, seen in zip(panels, [known, *row], strict=True):
        style.bare(axes)
        if seen is None:
            write_instead(axes, "not kept")
    if known is None:
        return
    whole = _background(picture, WHOLE, known)
    truth = _sampled(known.truth, WHOLE, whole)
    panels[0].imshow(overlay(whole, np.zeros_like(truth), truth=truth), interpolation="antialiased")
    _frame(panels[0], part, whole.shape[:2])
    for axes, seen in zip(panels[1:], row, strict=True):
        if seen is not None:
            axes.imshow(_as_seen(seen, picture, part, any_defect), interpolation="antialiased")
            _entitle(axes, _caption(seen), is_wrong=seen.is_wrong)


def _as_seen(seen: Seen, picture: np.ndarray | None, part: Part, any_defect: int) -> np.ndarray:
    """The part of the photograph with what is marked filled, or the whole map; truth outlined."""
    if seen.marked is None:
        part = WHOLE  # what is bright must be seen beside all the rest
    background = _background(picture, part, seen)
    truth = _sampled(seen.truth, part, background)
    if seen.marked is None:
        heat = colormaps[MAP_COLOURS](_sampled(seen.heat, part, background))[..., :3]
        return overlay((255 * heat).astype(np.uint8), np.zeros_like(truth), truth=truth)
    marked = seen.marked if seen.names_defects else (seen.marked != 0) * np.uint8(any_defect)
    return overlay(background, _sampled(marked, part, background), truth=truth)


def _caption(seen: Seen) -> str:
    called = f"called {style.short(seen.called, 18)}"
    if seen.marked is None:
        return called
    truth, marked = seen.truth != 0, seen.marked != 0
    if not truth.any():
        return f"{100 * marked.mean():.2g}% marked, {called}"
    return f"Dice {2 * (truth & marked).sum() / (truth.sum() + marked.sum()):.2f}, {called}"


def _part_around(known: Seen, row: Sequence[Seen | None]) -> Part:
    """The part around the true defect, of good photographs around all that is marked."""
    regions = [known.truth != 0]
    if not regions[0].any():
        regions = [seen.marked != 0 for seen in row if seen is not None and seen.marked is not None]
    boxes = np.array([_box(region) for region in regions if region.any()])
    if not len(boxes):
        return WHOLE
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    share = min(1.0, max(_AROUND * float((high - low).max()), _SMALLEST_PART))
    left, top = ((low + high - share) / 2).clip(0, 1 - share).tolist()
    return left, top, left + share, top + share


def _box(region: np.ndarray) -> Part:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    height, width = region.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def _background(picture: np.ndarray | None, part: Part, seen: Seen) -> np.ndarray:
    """A part of the photograph at `_DRAWN_PX` width; plain grey where it was not kept."""
    height, width = (seen.truth if picture is None else picture).shape[:2]
    size = (_DRAWN_PX, max(1, round(_DRAWN_PX * height / width)))
    if picture is None:
        return np.full((size[1], size[0], 3), _NO_IMAGE, np.uint8)
    box = (part[0] * width, part[1] * height, part[2] * width, part[3] * height)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, box=box))


def _sampled(values: np.ndarray, part: Part, like: np.ndarray) -> np.ndarray:
    """The values at the pixels of a picture of that part: (H, W) as it."""
    places = []
    for axis, (first, last) in enumerate(((part[1], part[3]), (part[0], part[2]))):
        count = like.shape[axis]
        at = first + (np.arange(count) + 0.5) * (last - first) / count
        places.append((at * values.shape[axis]).astype(int).clip(0, values.shape[axis] - 1))
    return values[np.ix_(*places)]


def _frame(axes: Axes, part: Part, size: tuple[int, ...]) -> None:
    """The border of a part of a picture of this height and width."""
    if part == WHOLE:
        return
    height, width = size
    x0, y0, x1, y1 = part
    corner = (x0 * width, y0 * height)
    line = Rectangle(corner, (x1 - x0) * width, (y1 - y0) * height, fill=False, edgecolor="white")
    line.set(linewidth=0.9, path_effects=[dark_rim(2.2)])
    axes.add_patch(line)


def _draw_legend(axes: Axes, defects: Sequence[str]) -> None:
    """Which colour is which class; filled is what was marked, outlined what is true."""
    axes.set_axis_off()
    colours = colours_of(1 + len(defects))[1:] / 255
    handles = [
        Patch(facecolor=tuple(colour), edgecolor=style.GREY, linewidth=0.5, label=style.short(name))
        for colour, name in zip(colours, defects, strict=True)
    ]
    axes.legend(handles=handles, loc="upper left", ncols=len(handles), borderaxespad=0,
                title="outlined: true, filled: marked; the framed part is enlarged",
                alignment="left")  # fmt: skip
