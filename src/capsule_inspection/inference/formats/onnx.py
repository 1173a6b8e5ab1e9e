"""ONNX: one .onnx file for ONNX Runtime and many other programs.

The metadata is in the model's metadata_props. The weights are inside of the file, so that no
companion can be lost; a model above two gigabytes cannot be written.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from capsule_inspection.inference.formats.base import (
    METADATA_KEY,
    Arrays,
    ExportedBackend,
    ExportFormat,
    check_signature,
    check_sizes,
    damaged,
    export_program,
    import_extra,
    quiet,
    read_metadata,
    to_json,
)
from capsule_inspection.inference.formats.layers import inner_layers, is_learned
from capsule_inspection.inference.metadata import ModelMetadata

if TYPE_CHECKING:
    from capsule_inspection.tasks.inference_model import InferenceModel

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ERRORS_ONLY = 3


class Onnx(ExportFormat):
    """See `ExportFormat`."""

    name: ClassVar[str] = "onnx"
    packages: ClassVar[Sequence[str]] = ("onnx", "onnxruntime", "onnxscript")
    int8_packages: ClassVar[Sequence[str]] = ()

    def write(self, model: InferenceModel, metadata: ModelMetadata, path: Path) -> None:
        import torch

        onnx = import_extra("onnx", extra=self.name)
        with quiet():
            program = torch.onnx.export(
                export_program(model, metadata),
                input_names=model.inputs,
                output_names=model.outputs,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        exported = program.model_proto
        for node in exported.graph.node:
            del node.metadata_props[:]
        _save(onnx, exported, metadata, path)

    def quantize(
        self, path: Path, output: Path, metadata: ModelMetadata, calibration: Sequence[Arrays]
    ) -> None:
        onnx = import_extra("onnx", extra=self.name)
        quantization = import_extra("onnxruntime.quantization", extra=self.name)
        with tempfile.TemporaryDirectory(dir=output.parent) as folder, quiet():
            prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
            quantization.quant_pre_process(
                str(path), str(prepared), skip_optimization=True, skip_symbolic_shape=True
            )
            model = onnx.load(prepared)
            inputs = [value.name for value in model.graph.input]
            quantization.quantize_static(
                str(prepared),
                str(quantized),
                _calibration_reader(quantization, inputs, calibration),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,  # 7 bits, which do not overflow on any processor
                op_types_to_quantize=list(_LAYERS),
                nodes_to_quantize=sorted(_inner_layers(model)),
            )
            _save(onnx, onnx.load(quantized), metadata, output)

    def open(self, path: Path, *, threads: int) -> ExportedBackend:
        onnx = import_extra("onnx", extra=self.name)
        onnxruntime = import_extra("onnxruntime", extra=self.name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, _ERRORS_ONLY
        try:
            _check_graph(onnx, onnx.load(path, load_external_data=False))
            session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
            stored = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            inputs = [value.name for value in session.get_inputs()]
            outputs = [value.name for value in session.get_outputs()]
        except Exception as error:  # whatever the library raises for a file that is not a model
            raise damaged(path, error) from error
        metadata = read_metadata(stored, path)
        check_signature(metadata, path, inputs=inputs, outputs=outputs)

        def compute(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            return session.run(outputs, dict(zip(inputs, arrays, strict=True)))

        return ExportedBackend(self.name, metadata, compute)


def _save(onnx: Any, model: Any, metadata: ModelMetadata, path: Path) -> None:
    """Write a model with our metadata as its only properties."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: to_json(metadata)})
    onnx.save(model, path)


def _check_graph(onnx: Any, model: Any) -> None:
    """Raise ValueError for a model that reads other files, loops, or would fill the memory."""
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    tensors = [*model.graph.initializer, *(attribute.t for attribute in attributes)]
    if any(tensor.external_data or tensor.data_location for tensor in tensors):
        raise ValueError("its weights are in another file")
    if (
        model.functions
        or model.graph.sparse_initializer
        or any(
            attribute.HasField("g")
            or attribute.graphs
            or attribute.tensors
            or attribute.HasField("sparse_tensor")
            or attribute.sparse_tensors
            for attribute in attributes
        )
    ):
        raise ValueError("it has graphs or sparse arrays within its graph")
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if domains:
        raise ValueError(f"operators of {', '.join(sorted(domains))}")
    check_sizes(tensor.dims for tensor in tensors)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*inferred.value_info, *inferred.output)
    check_sizes([max(d.dim_value, 1) for d in v.type.tensor_type.shape.dim] for v in values)


def _inner_layers(model: Any) -> set[str]:
    """Names of the nodes to quantize."""
    graph = model.graph
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    consumers, layers = defaultdict(list), set()  # of values and nodes; no name is both
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node.name)
        consumers[node.name] += node.output
        weights = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
        if node.op_type in _LAYERS and is_learned(weights):
            layers.add(node.name)
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    return inner_layers(layers, consumers, inputs=inputs, outputs=outputs)


def _calibration_reader(
    quantization: Any, inputs: Sequence[str], calibration: Sequence[Arrays]
) -> Any:
    """ONNX Runtime takes batches from `get_next` until it returns None."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(calibration)

        def get_next(self) -> Arrays | None:
            arrays = next(self.batches, None)
            return None if arrays is None else {name: arrays[name] for name in inputs}

    return Reader()
