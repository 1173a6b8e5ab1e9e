"""TorchScript: one .pt file that PyTorch reads without this package, in Python and in C++.

The description is a further file of the archive, description.json. What was traced is computed as
it was written, without folding layers into each other, so that the answers are those of the run to
the last bit. torch calls TorchScript deprecated since 2.9 and goes on reading it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capsule_inspection.inference.description import Description
from capsule_inspection.inference.formats import (
    INSPECTORS,
    TORCHSCRIPT,
    Arrays,
    ExportedEngine,
    Opened,
    as_text,
    check_signature,
    damaged,
    example_inputs,
    quiet,
    read_text,
)
from capsule_inspection.models.inspector import Inspector
from capsule_inspection.types import ConfigurationError

_DESCRIPTION = "description.json"


class TorchScript:
    """See `Format`."""

    packages: Sequence[str] = ()

    def require(self, *, int8: bool) -> None:
        if int8:
            raise ConfigurationError(
                "int8=true: format=torchscript has no models of eight bits. Say format=openvino "
                "or format=onnx, or leave int8 out."
            )

    def write(self, inspector: Inspector, description: Description, path: Path) -> None:
        examples = example_inputs(inspector, description)
        # torch would warn of TorchScript, and of sizes of images, which shall be fixed.
        with torch.no_grad(), quiet():
            traced = torch.jit.trace(inspector, examples, check_trace=False)
            own = list(traced.graph.inputs())[1:]
            for value, name in zip(own, inspector.inputs, strict=True):
                value.setDebugName(name)
            traced.save(str(path), _extra_files={_DESCRIPTION: as_text(description)})

    def quantise(
        self, path: Path, output: Path, description: Description, seen: Sequence[Arrays]
    ) -> None:
        self.require(int8=True)

    def open(self, path: Path, *, threads: int) -> Opened:
        extra = {_DESCRIPTION: ""}
        try:
            with quiet():
                model = torch.jit.load(path, map_location="cpu", _extra_files=extra)
        except Exception as error:  # whatever the library says of a file that is not its own
            raise damaged(path, error) from error
        text = extra[_DESCRIPTION]
        description = read_text(text.decode() if isinstance(text, bytes) else text, path)
        # Behind a dot stands a number where a name is not the only one.
        own = list(model.graph.inputs())[1:]
        inputs = [value.debugName().partition(".")[0] for value in own]
        check_signature(description, path, inputs=inputs, outputs=_outputs(model, description))
        torch.set_num_threads(threads)

        def compute(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            with torch.inference_mode():
                found = model(*(torch.from_numpy(array) for array in arrays))
            return [output.numpy() for output in found]

        return Opened(description, ExportedEngine(TORCHSCRIPT, description, compute))


def _outputs(model: torch.jit.ScriptModule, description: Description) -> Sequence[str]:
    """What a model gives, which has no names: those of its task, where there are as many."""
    (given,) = model.graph.outputs()
    of_all: Any = given.type()
    count = len(of_all.elements())
    known = INSPECTORS.get(description.task)
    if known is not None and len(known.outputs) == count:
        return known.outputs
    return [f"output {number}" for number in range(count)]
