"""File formats of exported models, a module each, and what all of them have in common.

In each the graph takes crops of whole numbers and gives what models/inspector.py says, for any
number of crops of one size, and the model's description travels inside of the file. Packages of a
format are imported when it is used.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from capsule_inspection.inference.description import (
    CLASSIFICATION,
    RECONSTRUCTION,
    SEGMENTATION,
    Description,
)
from capsule_inspection.inference.engines import IMAGE, Engine
from capsule_inspection.models.inspector import (
    ClassificationInspector,
    Inspector,
    ReconstructionInspector,
    SegmentationInspector,
)
from capsule_inspection.types import EXPORT_SUFFIXES, ConfigurationError, RunError

ONNX, OPENVINO, TORCHSCRIPT = "onnx", "openvino", "torchscript"
SUFFIXES = EXPORT_SUFFIXES
"""OpenVINO has a second file beside the one that is named."""
KEY = "capsule_inspection"
"""Under which the description stands in a file."""
INSPECTORS: Mapping[str, type[Inspector]] = {
    CLASSIFICATION: ClassificationInspector,
    RECONSTRUCTION: ReconstructionInspector,
    SEGMENTATION: SegmentationInspector,
}
Arrays = Mapping[str, np.ndarray]


class Opened(NamedTuple):
    """A file that was read: whose model it is, and what computes it."""

    description: Description
    engine: Engine


class Format(Protocol):
    """One file format."""

    packages: Sequence[str]
    """What writes and reads it, beside torch."""

    def require(self, *, int8: bool) -> None:
        """Raise ConfigurationError, naming what to install, where packages are missing."""
        ...

    def write(self, inspector: Inspector, description: Description, path: Path) -> None:
        """Write the model of an inspector on the CPU, which `make_exportable` was called of."""
        ...

    def quantise(
        self, path: Path, output: Path, description: Description, seen: Sequence[Arrays]
    ) -> None:
        """Write a model of `write` again, its layers with eight bits but for the outer ones.

        The range of what a layer takes is that of the inputs `seen`, batches of any size.
        `description` is that of the new file.
        """
        ...

    def open(self, path: Path, *, threads: int) -> Opened:
        """Read a file. Raises RunError where it is damaged, not ours, or made by a newer version.

        Raises ConfigurationError where packages are missing.
        """
        ...


def format_of(name: str) -> Format:
    """The format of a name."""
    if name == ONNX:
        from capsule_inspection.inference.formats.onnx_format import Onnx

        return Onnx()
    if name == OPENVINO:
        from capsule_inspection.inference.formats.openvino_format import OpenVino

        return OpenVino()
    from capsule_inspection.inference.formats.torchscript_format import TorchScript

    return TorchScript()


class ExportedEngine:
    """Computes with a function from the inputs, in their order, to the outputs, in theirs.

    An exported file has its answers only: it neither explains them nor gives vectors.
    """

    def __init__(
        self,
        name: str,
        description: Description,
        compute: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]],
    ) -> None:
        inspector = INSPECTORS[description.task]
        self.name = f"{name}-int8" if description.origin.get("int8") else name
        self.inputs: Sequence[str] = inspector.inputs
        self.outputs = inspector.outputs
        self.compute = compute

    def run(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """As `Engine.run`."""
        found = self.compute([np.ascontiguousarray(arrays[name]) for name in self.inputs])
        return dict(zip(self.outputs, found, strict=True))

    def explain(self, image: np.ndarray, label: np.ndarray) -> np.ndarray | None:
        """As `Engine.explain`: none can say."""
        return None

    def embed(self, image: np.ndarray) -> np.ndarray | None:
        """As `Engine.embed`: none can be had."""
        return None


def as_text(description: Description) -> str:
    """The description as JSON, ASCII only: not every format keeps other letters."""
    return json.dumps(description.as_dict())


def read_text(text: str | None, path: Path) -> Description:
    """The description that was found in a file, None where there was none. Raises RunError."""
    try:
        values = json.loads(text or "")
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise RunError(
            f"{path}: this model was not exported by export.py, or has lost what describes it, so "
            "nobody knows how photographs are cut out for it. Export the run again."
        )
    return Description.from_dict(values, where=str(path))


def check_signature(
    description: Description, path: Path, *, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Raise RunError where a graph takes or gives anything else than its description says."""
    inspector = INSPECTORS.get(description.task)
    if inspector is None:
        raise RunError(
            f"{path}: made for task={description.task}, which this version does not know."
        )
    if (tuple(inputs), tuple(outputs)) != (inspector.inputs, inspector.outputs):
        raise RunError(
            f"{path}: expected a model from {', '.join(inspector.inputs)} to "
            f"{', '.join(inspector.outputs)}, found one from {', '.join(inputs)} to "
            f"{', '.join(outputs)}. Export the run again."
        )


def damaged(path: Path, error: Exception) -> RunError:
    """The error for a file that a library could not read."""
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return RunError(
        f"{path}: not a readable model, it is damaged or something else "
        f"({path.stat().st_size} bytes; {reason}). Export the run again."
    )


def example_inputs(inspector: Inspector, description: Description) -> tuple[Tensor, ...]:
    """Two black crops and what belongs to them: one alone would fix the size of the batch."""
    size = description.image_size
    return tuple(
        torch.zeros((2, *size, 3) if name == IMAGE else (2, *size), dtype=torch.uint8)
        for name in inspector.inputs
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that libraries tell of each other, or of their progress; errors are still raised."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def import_extra(*modules: str, extra: str) -> list[ModuleType]:
    """Packages of an extra. Raises ConfigurationError, naming it, where one is missing."""
    # OpenVINO and NNCF would send figures about their use to their makers; without this they don't.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        with quiet():
            return [importlib.import_module(name) for name in modules]
    except ImportError as error:
        raise ConfigurationError(
            f"format={extra} needs packages that are not installed ({error}): "
            f"pip install -e '.[{extra}]'"
        ) from error
