"""A trained model, ready for photographs: from files to answers, one by one or as a stream.

Files are read and cut out by threads ahead of the network, a few batches at most, so that memory
does not grow with the number of photographs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from capsule_inspection.data.appearance import Appearance, describe
from capsule_inspection.data.bad_file import BadFileError, TooManyPixelsError
from capsule_inspection.data.cache import in_order
from capsule_inspection.data.preparation import Prepared, prepare
from capsule_inspection.data.reading import read_image
from capsule_inspection.inference.answers import Answered, Seen, answer, unreadable
from capsule_inspection.inference.description import CLASSIFICATION, Description
from capsule_inspection.inference.engines import FOREGROUND, IMAGE, VALID, Engine
from capsule_inspection.inference.results import identity
from capsule_inspection.types import ConfigurationError

log = logging.getLogger(__name__)
ALL, DEFECTS, NONE = "all", "defects", "none"


class Read(NamedTuple):
    """A file that was read: the crop with its remarks, or why there is none.

    `identity` is that of the file before it was read, so that no later change goes unseen.
    """

    name: str
    prepared: Prepared | None
    remarks: Sequence[str]
    error: str | None
    identity: Mapping[str, int | None] = MappingProxyType({})


class Predictor:
    """A model's description and the engine that computes it."""

    def __init__(self, description: Description, engine: Engine, *, explain: str = NONE) -> None:
        """`explain` says for which photographs a classifier shows where it looks."""
        self.description = description
        self.engine = engine
        self.explain = explain
        self.appearance: Appearance | None = None
        if description.appearance is not None:
            self.appearance = Appearance.from_dict(description.appearance)

    def stream(self, paths: Iterable[Path], *, batch_size: int, workers: int) -> Iterator[Answered]:
        """Answers in the order of the files; one that cannot be read has its error as answer."""
        files = iter(in_order(self.read, paths, workers=workers))
        while batch := list(islice(files, batch_size)):
            yield from self.answer(batch)

    def read(self, path: Path) -> Read:
        """A file as the network sees it; thread-safe, and never raises for what the file is."""
        known = identity(path)
        try:
            prepared = self._prepared(path)
        except BadFileError as error:
            return Read(str(path), None, (), error.reason, known)
        return Read(str(path), prepared, self._remarks(prepared), None, known)

    def _prepared(self, path: Path) -> Prepared:
        """A file read and cut out.

        Raises BadFileError, with reasons that name no setting of a training.
        """
        allowed = self.description.max_pixels
        try:
            image = read_image(path, max_pixels=allowed)
        except TooManyPixelsError as error:
            raise BadFileError(path, f"{error.found}; max_pixels allows {allowed}") from error
        try:
            return prepare(image, self.description.recipe)
        except ConfigurationError as error:  # the box, which was checked in training, is outside
            height, width = image.shape[:2]
            raise BadFileError(
                path,
                f"is {width}x{height} pixels, and the model looks at the box "
                f"{list(self.description.roi)} (x0, y0, x1, y1), which lies outside of it",
            ) from error

    def answer(self, files: Sequence[Read]) -> list[Answered]:
        """Answers for a batch of files, in their order."""
        arrays = self.stacked(files)
        outputs = self.engine.run(arrays) if arrays else {}
        row = 0
        found = []
        for read in files:
            if read.prepared is None:
                answered = unreadable(read.name, read.error or "cannot be read")
            else:
                of_one = {name: values[row] for name, values in outputs.items()}
                row += 1
                answered = self._answered(read, read.prepared, of_one)
            found.append(answered._replace(identity=read.identity))
        return self._explained(found)

    def _answered(
        self, read: Read, prepared: Prepared, outputs: Mapping[str, np.ndarray]
    ) -> Answered:
        if not all(np.isfinite(values).all() for values in outputs.values()):
            return unreadable(read.name, "what the network makes of it are no numbers")
        return answer(self.description, outputs, prepared, path=read.name, remarks=read.remarks)

    def _explained(self, found: list[Answered]) -> list[Answered]:
        """With where a classifier looks for the class that it names, for those that are asked."""
        asked = [
            row
            for row, (said, seen, _) in enumerate(found)
            if seen is not None and (self.explain == ALL or said.is_defect)
        ]
        if not asked or self.explain == NONE or self.description.task != CLASSIFICATION:
            return found
        seen_images = [seen.image for row in asked if (seen := found[row].seen) is not None]
        names = [found[row].answer.prediction for row in asked]
        labels = np.array([self.description.classes.index(str(name)) for name in names], np.int64)
        heats = self.engine.explain(np.stack(seen_images), labels)
        if heats is None:
            log.info(
                "Where the model looks is not shown: exported files cannot say it, nor can "
                "networks whose answers do not come from a feature map."
            )
            self.explain = NONE  # said once, and not asked again
            return found
        explained = list(found)
        for row, image, heat in zip(asked, seen_images, heats, strict=True):
            explained[row] = found[row]._replace(seen=Seen(image, heat=heat))
        return explained

    def stacked(self, files: Sequence[Read]) -> dict[str, np.ndarray]:
        """What the engine takes, of the files that could be read; nothing where none could."""
        prepared = [read.prepared for read in files if read.prepared is not None]
        if not prepared:
            return {}
        arrays = {IMAGE: np.stack([of_one.image for of_one in prepared])}
        if FOREGROUND in self.engine.inputs:
            arrays[FOREGROUND] = np.stack([of_one.foreground for of_one in prepared])
        if VALID in self.engine.inputs:
            arrays[VALID] = np.stack([of_one.valid.astype(np.uint8) for of_one in prepared])
        return arrays

    def _remarks(self, prepared: Prepared) -> Sequence[str]:
        if self.appearance is None:
            return ()
        height, width = prepared.size
        return self.appearance.remarks(
            describe(prepared.image, prepared.foreground),
            size=(width, height),
            found=prepared.found,
        )
