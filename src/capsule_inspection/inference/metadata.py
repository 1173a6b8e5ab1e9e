"""What must be known of a trained model, beside its weights, to predict an image with it.

Plain values only: read from a run folder, and stored as JSON in an exported file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from capsule_inspection.archives import DAMAGE, describe
from capsule_inspection.data.image_io import DecodeConfig
from capsule_inspection.data.ood import OODDetector
from capsule_inspection.data.preprocessing import PreprocessConfig
from capsule_inspection.metrics.stored_values import from_stored
from capsule_inspection.tasks.post_processor import PostProcessor, post_processor_type
from capsule_inspection.types import RunError

FORMAT_VERSION = 1
_SIDES_PX, _PIXELS, _DEPTHS = range(16, 8193), range(1, 2**40 + 1), (None, 8, 10, 12, 14, 16)
_MAX_CLASSES = 1000


@dataclass(frozen=True)
class ModelMetadata:
    """A trained model in plain values.

    `classes` are those that it predicts, the good one first. `image_size` is (height, width) in
    pixels; `roi`, `roi_margin` and `enlarge` see `PreprocessConfig`; `max_pixels`, `bit_depth` and
    `exif_orientation` see `DecodeConfig`. `post_processing` is the state
    of the task's post-processor, `ood` of the detector of unusual images (None where it was not
    fitted). `run` describes where the model comes from: name of the run, its data, the SHA-256 of
    its checkpoint.
    """

    task: str
    model: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    roi: str | tuple[float, ...]
    roi_margin: float
    enlarge: bool
    max_pixels: int
    bit_depth: int | None
    exif_orientation: bool
    post_processing: Mapping[str, Any]
    ood: Mapping[str, Any] | None = None
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def decoding(self) -> DecodeConfig:
        return DecodeConfig(self.max_pixels, self.bit_depth, self.exif_orientation)

    @property
    def preprocessing(self) -> PreprocessConfig:
        return PreprocessConfig(self.roi, self.roi_margin, self.image_size, self.enlarge)

    def post_processor(self) -> PostProcessor:
        """What decides on the model's outputs."""
        decide = post_processor_type(self.task, where="metadata")
        return decide.from_state_dict(self.post_processing, classes=self.classes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name; `from_dict` builds equal metadata from them."""
        return {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], *, where: str) -> ModelMetadata:
        """The metadata of `as_dict`.

        Raises RunError, naming `where`, for another format version, or values that are not whole.
        """
        values = dict(stored)
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise RunError(
                f"{where}: expected metadata of format {FORMAT_VERSION}, found {version}. Export "
                "the run again with this version."
            )
        try:
            metadata = from_stored(cls, values)
            _check(metadata)
            post_processor_type(metadata.task, where=where)
            metadata.post_processor()
            if metadata.ood is not None:
                OODDetector.from_dict(metadata.ood, where=f"{where} (ood)")
        except DAMAGE as error:
            raise RunError(
                f"{where}: expected the metadata of an exported model, found something else "
                f"({describe(error)}). Export the run again."
            ) from error
        return metadata


def _check(metadata: ModelMetadata) -> None:
    """Raise ValueError where a value is none that a run has: a crop of its size takes memory."""
    classes, roi = metadata.classes, metadata.roi
    is_valid = {
        "classes": 2 <= len(set(classes)) == len(classes) <= _MAX_CLASSES,
        "image_size": all(side in _SIDES_PX for side in metadata.image_size),
        "roi": roi in ("auto", "none") if isinstance(roi, str) else len(roi) == 4,
        "roi_margin": 0 <= metadata.roi_margin <= 10,
        "max_pixels": metadata.max_pixels in _PIXELS,
        "bit_depth": metadata.bit_depth in _DEPTHS,
    }
    wrong = [name for name, valid in is_valid.items() if not valid]
    if wrong:
        raise ValueError("; ".join(f"{name} is {getattr(metadata, name)!r:.60}" for name in wrong))
