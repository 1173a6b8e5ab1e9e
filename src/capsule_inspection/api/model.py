"""A trained model that predicts images in memory and in files; see `load_model`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from omegaconf import OmegaConf

from capsule_inspection.api.images import encode
from capsule_inspection.api.prediction import Prediction
from capsule_inspection.config import schema
from capsule_inspection.config.calls import restored_warnings
from capsule_inspection.config.checks import check
from capsule_inspection.config.existing_run import check_run
from capsule_inspection.config.named_runs import resolve_runs
from capsule_inspection.config.quoting import quote, unquote
from capsule_inspection.data.image_notes import note_sentences
from capsule_inspection.data.long_lists import list_lines, numbered
from capsule_inspection.inference.input_images import find_images
from capsule_inspection.inference.predictions import PredictedImage
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.types import ConfigurationError, DataError
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.load_run import choose_runtime, load_predictor

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

log = logging.getLogger(__name__)
Device = Literal["auto", "cpu", "cuda", "mps"]
Explain = Literal["all", "defects", "none"]
OnBadFile = Literal["error", "skip"]
_BATCH_SIZE = 8


def load_model(
    path: str | os.PathLike[str],
    *,
    threshold: float | Literal["argmax"] | None = None,
    bit_depth: int | None = None,
    max_pixels: int | None = None,
    device: Device = "auto",
    threads: int | None = None,
    verify: bool = True,
) -> Model:
    """A finished run or an exported model, ready to predict images.

    `path` is a run folder, an exported file or its folder, or what the commands take as `run=`,
    such as `latest`. `threshold`, `bit_depth` of 16-bit images and `max_pixels` are those of the
    training where they are None. `device` and `threads` (None: one per core) say where it computes;
    exported models compute on the CPU. `verify` compares the files with their checksums. A run is
    data: nothing in it is executed.

    Sets the number of threads of torch for the whole process. Raises RunError where the run is
    missing, not finished, damaged or of another version, and ConfigurationError for settings that
    the model or this machine does not have.

    >>> from capsule_inspection import load_model
    >>> model = load_model("outputs/classification/custom_resnet/example")
    >>> model.classes
    ('good', 'crack', 'poke')
    """
    given = os.path.expanduser(path)  # noqa: PTH111 - also names such as latest
    (argument,), _ = resolve_runs([f"run={quote(given)}"], "predict")
    check_run([argument])
    threshold, bit_depth = _plain(threshold), _plain(bit_depth)
    max_pixels, threads = _plain(max_pixels), _plain(threads)
    found = Path(unquote(argument.removeprefix("run=")))
    trainer = schema.Trainer(
        accelerator=device,
        devices=1,
        precision=hardware.FLOAT32,
        threads="auto" if threads is None else threads,
    )
    config = OmegaConf.structured(
        schema.Predict(
            run=str(found),
            verify="full" if verify else "skip",
            input=".",
            threshold=schema.GivenThreshold(threshold),
            batch_size=_BATCH_SIZE,
            workers="auto",
            overlays="none",
            explain="defects",
            max_pixels=max_pixels,
            bit_depth=bit_depth,
            trainer=trainer,
        )
    )
    check(config)
    with restored_warnings():
        predictor = load_predictor(
            found,
            choose_runtime(found, config.trainer),
            max_pixels=max_pixels,
            bit_depth=bit_depth,
            threshold=threshold,
            verify=verify,
        )
    return Model(found, predictor)


class Model:
    """A trained model; made by `load_model`. Predictions of one image are those of predict.py."""

    def __init__(self, path: Path, predictor: Predictor) -> None:
        self.path = path
        self._predictor = predictor

    @property
    def task(self) -> str:
        """`classification`, `anomaly_detection` or `segmentation`."""
        return self._predictor.metadata.task

    @property
    def name(self) -> str:
        """Name of the architecture, such as `resnet18`."""
        return self._predictor.metadata.model

    @property
    def classes(self) -> tuple[str, ...]:
        """What it predicts, the class of good images first."""
        return self._predictor.metadata.classes

    def predict(
        self,
        image: str | os.PathLike[str] | Image.Image | np.ndarray,
        *,
        explain: Explain = "defects",
    ) -> Prediction:
        """Predict one image: a path, a PIL image or an array.

        Shapes: (H, W, 3) uint8 in RGB; (H, W, 4) with alpha, which is laid on white; (H, W) uint8
        or uint16, whose values are scaled by the bit depth of the training. OpenCV's arrays are in
        BGR, which cannot be noticed: pass `array[..., ::-1]`. Colour of 16 bits is read from files
        only, since Pillow drops half of it.
        `explain` selects images for which a classifier shows where it looks, as in predict.py.

        Raises DataError where the image cannot be read or has another type or shape.

        >>> prediction = model.predict("images/crack.png")
        >>> sorted(prediction.probabilities)
        ['crack', 'good', 'poke']
        >>> import numpy, PIL.Image
        >>> array = numpy.asarray(PIL.Image.open("images/crack.png"))
        >>> array.shape, array.dtype
        ((40, 40, 3), dtype('uint8'))
        >>> model.predict(array).score == prediction.score
        True
        """
        _check_choice("explain", explain, Explain)
        if isinstance(image, str | os.PathLike):
            read = self._predictor.read(Path(image).expanduser())
        else:
            read = self._predictor.read(*encode(image))
        (predicted,) = self._predictor.predict([read], explain=explain)
        if predicted.crop is None:
            raise DataError(f"{predicted.prediction.path}: {predicted.prediction.error}.")
        return self._prediction(predicted)

    def predict_folder(
        self,
        path: str | os.PathLike[str],
        *,
        on_bad_file: OnBadFile = "error",
        explain: Explain = "defects",
        batch_size: int = _BATCH_SIZE,
        workers: int | None = None,
    ) -> Iterator[Prediction]:
        """Predict the images of a folder, one after another, in the order of their names.

        `path` may be what predict.py takes as `input=`: also a pattern such as `images/**/*.png` or
        a table with a column `path`. Images are read by `workers` threads (None: one per core) a
        few batches ahead, so that memory does not grow with their number. Predictions may differ in
        their last digits from those of single images, which are computed in other batches.

        Files that cannot be read do not stop it. With `on_bad_file="error"` a DataError that names
        them is raised at the end, after all others, as by predict.py; with "skip" each is logged
        as a warning. Raises DataError at once where there are no images.

        >>> [prediction.label in model.classes for prediction in model.predict_folder("images")]
        [True, True]
        """
        _check_choice("on_bad_file", on_bad_file, OnBadFile)
        _check_choice("explain", explain, Explain)
        for name, number in (("batch_size", batch_size), ("workers", workers)):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name}={number}: expected a number of at least 1.")
        paths = find_images(os.path.expanduser(path))  # noqa: PTH111 - it may be a pattern
        stream = self._predictor.stream(
            paths,
            batch_size=batch_size,
            workers=workers or hardware.available_cores(),
            explain=explain,
        )
        return self._without_bad_files(stream, on_bad_file)

    def _without_bad_files(
        self, stream: Iterator[PredictedImage], on_bad_file: OnBadFile
    ) -> Iterator[Prediction]:
        failed = []
        for predicted in stream:
            if predicted.crop is not None:
                yield self._prediction(predicted)
                continue
            reason = f"{predicted.prediction.path}: {predicted.prediction.error}"
            if on_bad_file == "skip":
                log.warning("Left out: %s.", reason)
            else:
                failed.append(reason)
        if failed:
            raise DataError(
                f"{numbered(len(failed), 'image')} cannot be read, all others are predicted:"
                f"{list_lines(failed)}Repair them, or leave them out with on_bad_file='skip'."
            )

    def _prediction(self, predicted: PredictedImage) -> Prediction:
        found, crop = predicted.prediction, predicted.crop
        assert crop is not None
        assert found.predicted_label is not None
        assert found.score is not None
        height, width = crop.size
        x0, y0, x1, y1 = map(int, crop.box)
        has_detector = self._predictor.ood_detector is not None
        return Prediction(
            path=found.path,
            width=width,
            height=height,
            label=found.predicted_label,
            is_defect=bool(found.is_defect),
            score=found.score,
            threshold=found.threshold,
            probabilities=found.probabilities,
            regions=tuple(found.regions),
            ood_warnings=tuple(found.ood_warnings) if has_detector else None,
            notes=tuple(note_sentences([(found.path, predicted.notes)], total=1)),
            classes=self.classes,
            box=(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)),
            _predicted=predicted,
        )

    def __repr__(self) -> str:
        return f"Model({self.task}, {self.name}, classes={list(self.classes)}, {str(self.path)!r})"


def _plain(value: Any) -> Any:
    """A NumPy scalar, such as a quantile, as a number of Python."""
    return value.item() if hasattr(value, "item") else value


def _check_choice(name: str, value: object, choices: object) -> None:
    known = get_args(choices)
    if value not in known:
        raise ConfigurationError(f"{name}={value!r}: expected one of {', '.join(known)}.")
