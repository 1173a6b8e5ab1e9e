"""What the rooms agree on: records, batches, names of files and columns, error classes.

Standard library only; every room may import this module, and it imports none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

FORMAT_VERSION = 1

GOOD_LABEL = 0
"""Class index of flawless parts, in every task and data set."""

DEFECT = "defect"
"""What a model calls an image that it rejects, where it cannot name the defect."""

TRAIN, VAL, TEST, CALIBRATION = "train", "val", "test", "calibration"
STAGES = (TRAIN, VAL, TEST, CALIBRATION)
AS_TRAINED = "as_trained"
"""Stands for the data set, or the split, of a finished run."""
LEFT_OUT = "left_out"
"""In a split: a training image that `data.real_defects` leaves out."""


class InspectionError(Exception):
    """Something that the user can mend: shown as one message, without a traceback."""

    exit_status = 1


class ConfigurationError(InspectionError):
    """A setting that does not exist, does not fit, or asks for the impossible."""

    exit_status = 2


class DataError(InspectionError):
    """Images, labels, masks or splits that are not as they should be."""


class WeightsError(InspectionError):
    """Weights or a checkpoint that cannot be had, read or used."""


class RunError(InspectionError):
    """A run folder that is missing, unfinished, busy or of another kind."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One row of the data index.

    `path` and `mask` are POSIX paths relative to the index's root (absolute where they lie outside
    of it). `width` and `height` are in pixels, after EXIF orientation. `group` joins images that
    must stay in one part of a split. `split` is a stage, "" where none has been assigned.
    `mask_sha256` is None where it is not known.
    """

    path: str
    label: int
    mask: str | None
    sha256: str
    width: int
    height: int
    size_bytes: int
    modified_ns: int
    group: str
    split: str = ""
    mask_sha256: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class DataIndex:
    """All images of a data set in a fixed order: row i is index i of every batch."""

    root: Path
    classes: tuple[str, ...]
    records: tuple[ImageRecord, ...]
    skipped: tuple[SkippedFile, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.records)

    def path_of(self, relative: str) -> Path:
        """Absolute path of a record's `path` or `mask`."""
        return self.root / relative


class Batch(TypedDict):
    """One batch as a task sees it, after the transform on the device.

    Shapes: image (N, 3, H, W) float, normalised; label (N,) int64; mask (N, H, W) uint8, 0 for
    background, else the class index; index (N,) int64 into the data index; target (N, 3, H, W),
    the clean image; valid (N, H, W) bool, false on padding; label_weight (N, C) float, soft
    labels where images were mixed; foreground (N, H, W) bool, true on the part, not in training.
    """

    image: Tensor
    label: Tensor
    mask: Tensor
    index: Tensor
    valid: Tensor
    foreground: NotRequired[Tensor]
    target: NotRequired[Tensor]
    label_weight: NotRequired[Tensor]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of images scaled to [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class WeightsRecord:
    """Where a network's first weights came from.

    `source` is imagenet, painted, random or file; `seen` holds the SHA-256 of every photograph
    that the weights have been trained on, as far as it is known.
    """

    source: str
    path: str | None = None
    sha256: str | None = None
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A measured value with its 95% interval; `low` and `high` are None where there is none."""

    value: float
    low: float | None
    high: float | None
    n: int


Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Explanations:
    """Where a classifier looked in K images, to see in each what it truly is.

    Shapes: index (K,) int64 into the data index; maps (K, H, W) float16 in [0, 1], the maximum of
    each is 1, or 0 where nothing spoke for the true class.
    """

    index: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Predictions:
    """What a run said of a set of images, as arrays of one length N.

    Shapes: index (N,) int64; label (N,) int64; probabilities (N, C) float64, rows sum to 1, None
    where the model names no defects; score (N,) float64, high for defects. `threshold` is the score
    above which an image is rejected, None where the probabilities decide; maps (N, H, W) float16,
    high on defects, None where a task has none or they were not asked for; reconstructions
    (N, H, W, 3) uint8 likewise. Of networks that mark pixels, `called` (N,) int64 is the class that
    was decided for each image, where it is not the most probable one, and `marked` (N, H, W) uint8
    the class of each pixel that was decided, 0 for none; overlap (N, 2), Dice and IoU of that with
    the mask, whichever defect, NaN where there is none. Of classifiers, `explanations` has maps of
    the defects with a mask, None where there are none or they were not asked for.
    """

    index: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray | None
    score: np.ndarray
    threshold: float | None = None
    maps: np.ndarray | None = None
    reconstructions: np.ndarray | None = None
    called: np.ndarray | None = None
    marked: np.ndarray | None = None
    overlap: np.ndarray | None = None
    explanations: Explanations | None = None


EXPORT_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".pt"}
"""Formats of exported models, and the ending of the file that is named where one is used."""


class RunFiles:
    """Names of the files in a run folder."""

    RECORD = "run.json"
    CONFIG = "config.yaml"
    SPLIT = "split.csv"
    EPOCHS = "metrics.csv"
    FIGURES = "metrics.json"
    PREDICTIONS = "predictions.csv"
    MAPS = "maps.npz"
    """Arrays of the test images: index (T,) int64; maps (T, H, W) float16, high on defects;
    masks (T, H, W) uint8, 0 or the class index; marked likewise, what was decided of each pixel,
    where a task does; inside (T, 4) int32, x0, y0, x1, y1 of what is not
    padding."""
    EXPLANATIONS = "explanations.npz"
    """As MAPS, without marked: where a classifier looked in the test images with a defect and a
    mask. A file of its own, since maps by which a run decides are those of other tasks."""
    IMAGES = "images"
    """`<index>.jpg`, and `<index>_reconstruction.jpg` where a task has one."""
    NEIGHBOURS = "neighbours.npz"
    """Vectors and thumbnails of training images, see inference/neighbours.py."""
    APPEARANCE = "appearance.json"
    """How the training photographs look, see data/appearance.py."""
    PAGE = "report.html"
    CHECKPOINTS = "checkpoints"
    BEST = "checkpoints/best.ckpt"
    LAST = "checkpoints/last.ckpt"
    WEIGHTS = "weights.safetensors"
    """Of the best epoch in half precision, for `model.weights` of other runs; save_weights."""
    WEIGHTS_CARD = "weights.json"
    """What they are, see models/weight_cards.py."""
    PICTURES = "figures"
    LOG = "train.log"
    LOCK = "run.lock"


class SweepFiles:
    """Names in the folder of a sweep and of its jobs."""

    SWEEP = "sweep.json"
    JOB = "job.json"
    COMPARISON = "comparison"
    EARLIER = "earlier_attempts"


SPLIT_COLUMNS = (
    "index",
    "path",
    "label",
    "class",
    "mask",
    "sha256",
    "width",
    "height",
    "size_bytes",
    "modified_ns",
    "group",
    "split",
)
