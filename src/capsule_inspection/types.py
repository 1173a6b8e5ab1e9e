"""Shared dataclasses, batches, names of files and columns, and error classes.

Standard library only; every package may import this module.
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
"""Class index of good parts, in every task and data set."""

DEFECT = "defect"
"""Label of an image with a defect where the data set or the model names no defect classes."""
IGNORE_INDEX = 255
"""Pixels of a mask that count neither in the loss nor in a metric."""

TRAIN, VAL, TEST, CALIBRATION = "train", "val", "test", "calibration"
SPLITS = (TRAIN, VAL, TEST, CALIBRATION)
FROM_RUN = "from_run"
"""Name of the data set or the split of a finished run, in the configuration."""
LEFT_OUT = "left_out"
"""Split of a training image that `data.defect_fraction` or `data.good_fraction` excludes."""

EXPECTED_COST = "expected_cost"
"""Cost per part at the costs of a missed defect and of a rejected good part."""
PRIMARY_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "auroc",
    "false_negative_rate",
    "false_positive_rate",
    "binary_dice_global",
    "mean_iou_global",
    EXPECTED_COST,
)
"""Metrics that can decide a comparison (`compare.primary`)."""
ARGMAX = "argmax"
"""Decision of a classifier without a threshold: the most probable class of all."""


class InspectionError(Exception):
    """An error that the user can fix; printed as one message without a traceback."""

    exit_status = 1


class ConfigurationError(InspectionError):
    """A setting that does not exist, or an invalid value."""

    exit_status = 2


class DataError(InspectionError):
    """Invalid images, labels, masks or splits."""


class WeightsError(InspectionError):
    """Weights or a checkpoint that are unavailable, unreadable or unsuitable."""


class RunError(InspectionError):
    """A run folder that is missing, unfinished, in use or something else."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the data index.

    `path` and `mask` are POSIX paths relative to the index's root, absolute outside of it. `width`
    and `height` are in pixels, after EXIF orientation. Images of one `group` stay in one split.
    `split` is "" until it is assigned, `mask_sha256` None if it is unknown.
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
    """A file that was excluded, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class DataIndex:
    """All images of a data set in a fixed order; row i is index i of every batch."""

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[SkippedFile, ...] = field(default=())
    layout: str = ""
    """Name of the layout for people, as in "MVTec AD 2"."""
    inventory: Mapping[str, object] = field(default_factory=dict)
    """Files that were used and not used, as recorded in run.json."""
    warnings: tuple[str, ...] = ()
    """What is unusual about the data, one sentence each, with counts."""
    bit_depth: int | None = None
    """Of the values in 16-bit files, by which they are scaled; None where there are none."""
    exif_orientation: bool = True
    """Whether images are turned as their EXIF data say."""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def decoding(self) -> tuple[int | None, bool]:
        """What decides the pixels of the files, for the names of what is made from them."""
        return self.bit_depth, self.exif_orientation

    def path_of(self, relative: str) -> Path:
        """Absolute path of a sample's `path` or `mask`."""
        return self.root / relative


class Batch(TypedDict):
    """One batch, after the transform on the device.

    Shapes: image (N, 3, H, W) float, normalised; label (N,) int64; mask (N, H, W) uint8, 0 for
    background, else the class index; index (N,) int64 into the data index; target (N, 3, H, W),
    the clean image; valid (N, H, W) bool, false on padding and ignored pixels; label_weight (N, C)
    float, soft labels of mixed images; ignored (N, H, W) bool, true on pixels that the masks
    ignore, where the data set has any.
    """

    image: Tensor
    label: Tensor
    mask: Tensor
    index: Tensor
    valid: Tensor
    target: NotRequired[Tensor]
    label_weight: NotRequired[Tensor]
    ignored: NotRequired[Tensor]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of images scaled to [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class WeightsRecord:
    """Where a model's initial weights come from.

    `source` is imagenet, synthetic, random or file, `package` the name and version of the installed
    package that the file is in. `training_hashes` are the SHA-256 of all images that the weights
    were trained on, as far as they are known, `selection_hashes` of those that selected the epoch.
    """

    source: str
    path: str | None = None
    sha256: str | None = None
    package: str | None = None
    training_hashes: frozenset[str] = frozenset()
    selection_hashes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95% confidence interval, over n independent images.

    `ci_low` and `ci_high` are None if there is no interval.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int

    def as_dict(self) -> dict[str, float | None]:
        """The value of a key in metrics.json."""
        return {"value": self.value, "low": self.ci_low, "high": self.ci_high, "n": self.n}


Estimates = Mapping[str, Estimate]


@dataclass(frozen=True)
class Costs:
    """Costs of a missed defect and of a rejected good part, in any unit; not both are zero.

    `defect_rate` is the fraction of defects in production; None stands for that of the images.
    """

    false_negative: float
    false_positive: float
    defect_rate: float | None = None

    def of_no_model(self) -> tuple[float, str]:
        """The cost of a part without a model, and the cheaper policy: "accepting" or "rejecting".

        The defect rate must be known.
        """
        assert self.defect_rate is not None
        accepting = self.false_negative * self.defect_rate
        rejecting = self.false_positive * (1 - self.defect_rate)
        return min((accepting, "accepting"), (rejecting, "rejecting"))


@dataclass(frozen=True)
class Explanations:
    """Class activation maps of the true class, for K images.

    Shapes: index (K,) int64 into the data index; maps (K, H, W) float16 in [0, 1], with maximum 1,
    or 0 where nothing supports the true class.
    """

    index: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run for N images, as arrays.

    Shapes: index, label and predicted_label (N,) int64; probabilities (N, C) float64, rows sum to
    1; score (N,) float64, high for defects; anomaly_map (N, H, W) float16, high on defects;
    predicted_mask (N, H, W) uint8, class indices; reconstruction (N, H, W, 3) uint8; overlap
    (N, 2), Dice and IoU of predicted and true mask for any defect, NaN without a true mask. Arrays
    that a task does not have are None. Images with a score above `threshold` are defects; None if
    the most probable class decides.
    """

    index: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray | None
    score: np.ndarray
    predicted_label: np.ndarray
    threshold: float | None = None
    anomaly_map: np.ndarray | None = None
    reconstruction: np.ndarray | None = None
    predicted_mask: np.ndarray | None = None
    overlap: np.ndarray | None = None
    explanations: Explanations | None = None


ANNOTATION_FORMATS = ("coco", "yolo", "labelme", "voc", "cvat", "label_studio")
"""Formats of annotation tools, by the names of their `data=`."""

EXPORT_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch_export": ".pt2"}
"""Formats of exported models, and the suffix of the model file."""
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
"""Files that model.weights may name."""


FILE_LIST = ".files.json"
"""List of the files of a rendered data set, see file_list.py."""
PREDICTIONS_RECORD, PREDICTIONS_PAGE = "prediction.json", "index.html"
"""Files that a folder of predictions has."""


class RunFiles:
    """Names of the files in a run folder."""

    RECORD = "run.json"
    CONFIG = "config.yaml"
    SPLIT = "split.csv"
    EPOCHS = "metrics.csv"
    METRICS = "metrics.json"
    PREDICTIONS = "predictions.csv"
    MAPS = "maps.npz"
    """Arrays of the T test images: index (T,) int64; anomaly_map (T, H, W) float16, high on
    defects; masks and, for segmentation, predicted_mask (T, H, W) uint8, class indices, masks with
    ignored pixels too; content_box (T, 4) int32, x0, y0, x1, y1 of the area without padding."""
    EXPLANATIONS = "explanations.npz"
    """As MAPS, without predicted_mask: class activation maps of test images with a defect mask."""
    IMAGES = "images"
    """`<index>.jpg`, and `<index>_reconstruction.jpg` of an autoencoder."""
    EMBEDDINGS = "embeddings.npz"
    """Vectors and thumbnails of training images, see inference/embeddings.py."""
    OOD = "ood.json"
    """Appearance of the training images, see data/ood.py."""
    PAGE = "report.html"
    CHECKPOINTS = "checkpoints"
    BEST = "checkpoints/best.ckpt"
    LAST = "checkpoints/last.ckpt"
    WEIGHTS = "weights.safetensors"
    """Of the best epoch in half precision, for `model.weights` of other runs; with save_weights."""
    MODEL_CARD = "weights.json"
    """Model card of the weights, see models/model_card.py."""
    PLOTS = "figures"
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
