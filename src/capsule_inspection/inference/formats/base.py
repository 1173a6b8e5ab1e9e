"""What the formats of exported models have in common.

An exported file holds the graph of an `InferenceModel`, for any number of crops of one size, and
the metadata of the model. Packages of a format, torch too, are imported when
it needs them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import math
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from capsule_inspection.archives import describe
from capsule_inspection.inference.metadata import ModelMetadata
from capsule_inspection.tasks.backend import IMAGE
from capsule_inspection.tasks.post_processor import post_processor_type
from capsule_inspection.types import ConfigurationError, RunError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from capsule_inspection.tasks.inference_model import InferenceModel

METADATA_KEY = "capsule_inspection"
"""Under which a file stores its metadata."""
MAX_VALUES = 2**32
"""Of an array between two layers, for one crop: a file may hold a layer that fills the memory."""
Arrays = Mapping[str, np.ndarray]
Compute = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


class ExportedBackend:
    """Computes an exported file with `compute`, from inputs to outputs in the model's order."""

    def __init__(self, name: str, metadata: ModelMetadata, compute: Compute) -> None:
        expected = post_processor_type(metadata.task, where="metadata")
        self.name = f"{name}-int8" if metadata.run.get("int8") else name
        self.metadata = metadata
        self.inputs = expected.inputs
        self.outputs = expected.outputs
        self.compute = compute

    def run(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """As `Backend.run`."""
        outputs = self.compute([np.ascontiguousarray(arrays[name]) for name in self.inputs])
        return dict(zip(self.outputs, outputs, strict=True))

    def call(self, method: str, *arrays: np.ndarray) -> None:
        """As `Backend.call`: an exported file has the outputs of the model only."""


class ExportFormat(ABC):
    """A file format of exported models."""

    name: ClassVar[str]
    packages: ClassVar[Sequence[str]] = ()
    """Packages that write and read it, beside torch; the extra of the format installs them."""
    int8_packages: ClassVar[Sequence[str] | None] = None
    """Further packages that quantize a model; None where the format has no int8 models."""

    def require(self, *, int8: bool) -> None:
        """Raise ConfigurationError where packages are missing, or the format has no int8 models."""
        if int8 and self.int8_packages is None:
            raise ConfigurationError(
                f"int8=true: format={self.name} has no int8 models. Set format=openvino or "
                "format=onnx, or leave int8 out."
            )
        for package in (*self.packages, *((self.int8_packages or ()) if int8 else ())):
            import_extra(package, extra=self.name)

    @abstractmethod
    def write(self, model: InferenceModel, metadata: ModelMetadata, path: Path) -> None:
        """Write a model on the CPU, after its `make_exportable`."""

    def quantize(
        self, path: Path, output: Path, metadata: ModelMetadata, calibration: Sequence[Arrays]
    ) -> None:
        """Write the model in `path` again with int8 layers, all but the outer ones.

        The ranges of their inputs are those of the batches in `calibration`, each with
        the arrays of the model's inputs or more. `metadata` is that of
        the new file.
        """
        raise NotImplementedError

    @abstractmethod
    def open(self, path: Path, *, threads: int) -> ExportedBackend:
        """Open a file on the CPU.

        Raises RunError where it is damaged, not written by export.py, or of another version;
        ConfigurationError where packages are missing.
        """


def import_extra(module: str, *, extra: str) -> Any:
    """A module of an optional package.

    Raises ConfigurationError, naming the extra that installs it, where it is missing.
    """
    # OpenVINO and NNCF would report their use to their makers; without this package they do not.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"format={extra} needs packages that are not installed ({error}): "
            f"pip install -e '.[{extra}]'"
        ) from error


def export_program(model: InferenceModel, metadata: ModelMetadata) -> ExportedProgram:
    """The graph of a model for batches of any size, without paths of this machine."""
    import torch

    height, width = metadata.image_size
    shapes = {
        name: (2, height, width, 3) if name == IMAGE else (2, height, width)
        for name in model.inputs
    }  # a batch of one would fix its size
    examples = tuple(torch.zeros(shape, dtype=torch.uint8) for shape in shapes.values())
    batch = torch.export.Dim("batch")
    with torch.no_grad(), quiet():
        program = torch.export.export(
            model, examples, dynamic_shapes={"inputs": tuple({0: batch} for _ in examples)}
        )
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(key, None)
    return program


def to_json(metadata: ModelMetadata) -> str:
    """Metadata as JSON, in ASCII: not every format keeps other letters."""
    return json.dumps(metadata.as_dict())


def read_metadata(text: str | None, path: Path) -> ModelMetadata:
    """The metadata of a file from its JSON, None where there is none. Raises RunError."""
    try:
        values = json.loads(text or "")
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise RunError(
            f"{path}: expected a model with the metadata that export.py writes, found none. Export "
            "the run again."
        )
    return ModelMetadata.from_dict(values, where=str(path))


def check_signature(
    metadata: ModelMetadata, path: Path, *, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Raise RunError where a graph has other inputs or outputs than a model of its task."""
    expected = post_processor_type(metadata.task, where=str(path))
    if (tuple(inputs), tuple(outputs)) != (expected.inputs, expected.outputs):
        raise RunError(
            f"{path}: expected a model from {', '.join(expected.inputs)} to "
            f"{', '.join(expected.outputs)}, found one from {', '.join(inputs)} to "
            f"{', '.join(outputs)}. Export the run again."
        )


def check_sizes(shapes: Iterable[Sequence[int]]) -> None:
    """Raise ValueError where an array of a graph is larger than those of a network."""
    for shape in shapes:
        if math.prod(shape) > MAX_VALUES:
            raise ValueError(f"an array of shape {tuple(shape)} would be computed")


def damaged(path: Path, error: Exception) -> RunError:
    """The error for a file that a library cannot read."""
    return RunError(
        f"{path}: not a readable model, it is damaged or something else "
        f"({path.stat().st_size} bytes; {describe(error)}). Export the run again."
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, log messages and output of libraries; errors are still raised."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
