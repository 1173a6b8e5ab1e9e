"""The prediction of one image, with maps at the size of the image, and its picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from capsule_inspection.inference.predictions import ImageRegion, PredictedImage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL_IN = 5.0


@dataclass(frozen=True, repr=False, eq=False)
class Prediction:
    """What a model predicts for one image.

    `score` is high for defects; above `threshold` the image is a defect, and where `threshold` is
    None the most probable class or the predicted mask decides. `probabilities` of all classes sum
    to 1; None where the model does not name defects. `regions` are those of the predicted mask, in
    pixels of the image. `ood_warnings` say how the image is unlike those of the training; None
    where that is not known, since these were too few. `notes` say what was unusual in decoding it.
    `path` is the name of the file, or "array". `box` is the area that the model was given, x0, y0,
    x1, y1 in pixels of the image.
    """

    path: str
    width: int
    height: int
    label: str
    is_defect: bool
    score: float
    threshold: float | None
    probabilities: Mapping[str, float] | None
    regions: tuple[ImageRegion, ...]
    ood_warnings: tuple[str, ...] | None
    notes: tuple[str, ...]
    classes: tuple[str, ...]
    box: tuple[int, int, int, int]
    _predicted: PredictedImage = field(repr=False)

    @property
    def is_out_of_distribution(self) -> bool | None:
        """Whether the image is unlike those of the training; None where that is not known."""
        return None if self.ood_warnings is None else bool(self.ood_warnings)

    @cached_property
    def anomaly_map(self) -> np.ndarray | None:
        """(height, width) float32, high on defects, 0 outside of `box`; None of a classifier.

        Interpolated from the resolution of the model, by which `score` is computed.
        """
        found = None if self._predicted.at_crop is None else self._predicted.at_crop.anomaly_map
        return None if found is None else self._in_image(found.astype(np.float32), smooth=True)

    @cached_property
    def predicted_mask(self) -> np.ndarray | None:
        """(height, width) uint8, 0 for background, else the index in `classes`.

        None of models that predict no masks.
        """
        found = None if self._predicted.at_crop is None else self._predicted.at_crop.predicted_mask
        return None if found is None else self._in_image(found, smooth=False)

    @cached_property
    def explanation(self) -> np.ndarray | None:
        """(height, width) float32 in [0, 1], where a classifier looks; None where not computed."""
        drawn = self._predicted.visualization
        if drawn is None or drawn.heatmap is None or self.probabilities is None:
            return None
        return self._in_image(drawn.heatmap.astype(np.float32), smooth=True)

    def _in_image(self, values: np.ndarray, *, smooth: bool) -> np.ndarray:
        """Values at the size of the crop, (h, w), at that of the image; 0 outside of the crop."""
        import cv2

        crop = self._predicted.crop
        assert crop is not None
        x0, y0, x1, y1 = map(int, crop.box)  # may reach beyond the image
        how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST_EXACT
        resized = cv2.resize(values, (x1 - x0, y1 - y0), interpolation=how)
        whole = np.zeros((self.height, self.width), values.dtype)
        left, top, right, bottom = self.box
        whole[top:bottom, left:right] = resized[top - y0 : bottom - y0, left - x0 : right - x0]
        return whole

    def as_row(self) -> dict[str, Any]:
        """Plain values, as in a line of predictions.jsonl of predict.py."""
        return self._predicted.prediction.as_row()

    def plot(self) -> Figure:
        """A matplotlib figure of what the model was given, beside it with mask or heat."""
        from capsule_inspection.reports.plots import overlays, style

        drawn = self._predicted.visualization
        assert drawn is not None
        panels = [overlays.compose(drawn.image)]
        mask, heat = drawn.mask, drawn.heatmap
        if heat is not None or (mask is not None and mask.any()):
            outlines = () if mask is None else (mask,)
            panels.append(overlays.compose(drawn.image, heat=heat, mask=mask, outlines=outlines))
        height, width = panels[0].shape[:2]
        rows = len(panels) if width > 1.5 * height else 1
        columns = len(panels) // rows
        with style.applied():
            size = (_PANEL_IN * columns, _PANEL_IN * rows * height / width + 0.8)
            figure = style.new_figure(*size, dpi=style.GRID_DPI)
            for number, panel in enumerate(panels, start=1):
                axes = figure.add_subplot(rows, columns, number)
                axes.imshow(panel)
                style.hide_axes(axes)
            figure.suptitle(self._caption(), x=0.01, ha="left", size=11)
            if mask is not None and mask.any():
                present = [label for label in range(1, len(self.classes)) if (mask == label).any()]
                patches = overlays.class_patches(self.classes[1:])
                handles = [patches[label - 1] for label in present]
                figure.legend(handles=handles, loc="outside lower left", ncols=4)
        # IPython displays the figures of pyplot only, by itself.
        figure._repr_png_ = partial(_encode, figure)  # type: ignore[attr-defined]
        return figure

    def _caption(self) -> str:
        label = (
            self.label if self.label == "defect" or not self.is_defect else f"{self.label} (defect)"
        )
        threshold = "" if self.threshold is None else f", threshold {self.threshold:.4g}"
        unlike = "\nunlike the training images" if self.is_out_of_distribution else ""
        return f"{label}: score {self.score:.4g}{threshold}{unlike}"

    def _repr_png_(self) -> bytes:
        return _encode(self.plot())

    def __repr__(self) -> str:
        return (
            f"Prediction({self.path!r}, label={self.label!r}, is_defect={self.is_defect}, "
            f"score={self.score:.4g})"
        )


def _encode(figure: Figure) -> bytes:
    """A figure as PNG, which notebooks display."""
    from capsule_inspection.reports.plots import style

    stream = io.BytesIO()
    style.styled(figure.savefig)(stream, format="png")
    return stream.getvalue()
