"""What must be known of a trained model, beside its weights, to predict an image with it.

Plain values only: read from a run folder, and stored as JSON in an exported file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from capsule_inspection.data.image_io import DecodeConfig
from capsule_inspection.data.preprocessing import PreprocessConfig
from capsule_inspection.tasks.adapter import task_type
from capsule_inspection.tasks.post_processor import PostProcessor
from capsule_inspection.types import RunError

FORMAT_VERSION = 1


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
        post_processor = task_type(self.task, where="metadata").post_processor_type
        return post_processor.from_state_dict(self.post_processing, classes=self.classes)

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
            roi = values.pop("roi")
            height, width = values.pop("image_size")
            metadata = cls(
                classes=tuple(values.pop("classes")),
                image_size=(int(height), int(width)),
                roi=roi if isinstance(roi, str) else tuple(float(edge) for edge in roi),
                **values,
            )
            task_type(metadata.task, where=where)
            metadata.post_processor()
        except (KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RunError(
                f"{where}: expected the metadata of an exported model, found something else "
                f"({reason}). Export the run again."
            ) from error
        return metadata
