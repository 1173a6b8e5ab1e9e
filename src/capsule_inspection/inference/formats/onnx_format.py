"""ONNX: one .onnx file for ONNX Runtime and many other programs.

The description stands in the model's metadata_props. Weights are inside of the file, so it has no
companion to lose; a model above two gigabytes cannot be written.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capsule_inspection.inference.description import Description
from capsule_inspection.inference.formats import (
    KEY,
    ONNX,
    Arrays,
    ExportedEngine,
    Opened,
    as_text,
    check_signature,
    damaged,
    example_inputs,
    import_extra,
    quiet,
    read_text,
)
from capsule_inspection.inference.formats.layers import inner, is_layer
from capsule_inspection.models.inspector import Inspector

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ERRORS_ONLY = 3


class Onnx:
    """See `Format`."""

    packages: Sequence[str] = ("onnx", "onnxruntime", "onnxscript")

    def require(self, *, int8: bool) -> None:
        import_extra(*self.packages, extra=ONNX)

    def write(self, inspector: Inspector, description: Description, path: Path) -> None:
        (onnx,) = import_extra("onnx", extra=ONNX)
        batch = torch.export.Dim("batch")
        with torch.no_grad(), quiet():
            program = torch.onnx.export(
                inspector,
                example_inputs(inspector, description),
                input_names=inspector.inputs,
                output_names=inspector.outputs,
                dynamic_shapes={"inputs": tuple({0: batch} for _ in inspector.inputs)},
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
        for node in model.graph.node:
            del node.metadata_props[:]  # lines of this program, with paths of this machine
        _save(onnx, model, description, path)

    def quantise(
        self, path: Path, output: Path, description: Description, seen: Sequence[Arrays]
    ) -> None:
        onnx, quantization = import_extra("onnx", "onnxruntime.quantization", extra=ONNX)
        with tempfile.TemporaryDirectory(dir=output.parent) as folder, quiet():
            shaped, written = Path(folder) / "shaped.onnx", Path(folder) / "written.onnx"
            quantization.quant_pre_process(
                str(path), str(shaped), skip_optimization=True, skip_symbolic_shape=True
            )
            quantization.quantize_static(
                str(shaped),
                str(written),
                _reader(quantization, seen),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,  # 7 bits, which no processor lets overflow
                op_types_to_quantize=list(_LAYERS),
                nodes_to_quantize=sorted(_inner_layers(onnx.load(shaped))),
            )
            _save(onnx, onnx.load(written), description, output)

    def open(self, path: Path, *, threads: int) -> Opened:
        (onnxruntime,) = import_extra("onnxruntime", extra=ONNX)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, _ERRORS_ONLY
        try:
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # whatever the library says of a file that is no model
            raise damaged(path, error) from error
        description = read_text(session.get_modelmeta().custom_metadata_map.get(KEY), path)
        inputs = [given.name for given in session.get_inputs()]
        outputs = [found.name for found in session.get_outputs()]
        check_signature(description, path, inputs=inputs, outputs=outputs)

        def compute(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            return session.run(outputs, dict(zip(inputs, arrays, strict=True)))

        return Opened(description, ExportedEngine(ONNX, description, compute))


def _save(onnx: Any, model: Any, description: Description, path: Path) -> None:
    """Write a model with its description as the only thing that is said of it."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {KEY: as_text(description)})
    onnx.save(model, path)


def _inner_layers(model: Any) -> set[str]:
    """Names of the layers that may be quantised."""
    graph = model.graph
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    feeds, layers = defaultdict(list), set()  # values and nodes; no name is of both
    for node in graph.node:
        for name in node.input:
            feeds[name].append(node.name)
        feeds[node.name] += node.output
        weights = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
        if node.op_type in _LAYERS and is_layer(weights):
            layers.add(node.name)
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    return inner(layers, feeds, inputs=inputs, outputs=outputs)


def _reader(quantization: Any, seen: Sequence[Arrays]) -> Any:
    """What ONNX Runtime asks for inputs, until it is given None."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(seen)

        def get_next(self) -> Arrays | None:
            return next(self.left, None)

    return Reader()
