"""OpenVINO: an .xml file, and a .bin file beside it with the weights.

The rt_info of the .xml has the metadata, and the SHA-256 of the .bin: weights of another model with
the same layers would be computed with in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from xml.etree import ElementTree

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
from capsule_inspection.integrity import file_sha256
from capsule_inspection.tasks.backend import IMAGE
from capsule_inspection.types import RunError

if TYPE_CHECKING:
    from capsule_inspection.tasks.inference_model import InferenceModel

_LAYERS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
_CONTROL = {"TensorIterator", "Loop", "If"}
_MAX_XML_BYTES = 64 << 20
_METADATA, _WEIGHTS = "metadata", "weights_sha256"


class OpenVino(ExportFormat):
    """See `ExportFormat`."""

    name: ClassVar[str] = "openvino"
    packages: ClassVar[Sequence[str]] = ("openvino",)
    int8_packages: ClassVar[Sequence[str]] = ("nncf",)

    def write(self, model: InferenceModel, metadata: ModelMetadata, path: Path) -> None:
        openvino = import_extra("openvino", extra=self.name)
        with quiet():
            exported = openvino.convert_model(export_program(model, metadata))
        names = (*model.inputs, *model.outputs)
        for port, name in zip((*exported.inputs, *exported.outputs), names, strict=True):
            port.get_tensor().set_names({name})
        height, width = metadata.image_size
        exported.reshape(
            {
                name: openvino.PartialShape([-1, height, width, *([3] if name == IMAGE else [])])
                for name in model.inputs
            }
        )
        _save(openvino, exported, metadata, path)

    def quantize(
        self, path: Path, output: Path, metadata: ModelMetadata, calibration: Sequence[Arrays]
    ) -> None:
        openvino = import_extra("openvino", extra=self.name)
        nncf = import_extra("nncf", extra=self.name)
        nncf.set_log_level(logging.ERROR)
        model = openvino.Core().read_model(path)
        inputs = _names(model.inputs)
        ignored = {node.get_friendly_name() for node in model.get_ops()} - _inner_layers(model)
        with quiet():
            quantized = nncf.quantize(
                model,
                nncf.Dataset(calibration, lambda arrays: {name: arrays[name] for name in inputs}),
                subset_size=len(calibration),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=sorted(ignored), validate=False),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=nncf.OverflowFix.ENABLE,  # 7 bits, which do not overflow
                ),
            )
        _save(openvino, quantized, metadata, output)

    def open(self, path: Path, *, threads: int) -> ExportedBackend:
        openvino = import_extra("openvino", extra=self.name)
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise RunError(
                f"{path}: its weights, {weights.name}, are not beside it. Move both files together."
            )
        core = openvino.Core()
        try:
            stored = _read_rt_info(path)
            metadata = read_metadata(stored.get(_METADATA), path)
            if stored.get(_WEIGHTS) != file_sha256(weights):
                raise RunError(
                    f"{weights}: damaged, or the weights of another model than {path.name}. "
                    "Restore both files from a copy, or export the run again."
                )
            model = core.read_model(path)
            _check_graph(model)
        except RunError:
            raise
        except Exception as error:  # whatever the libraries raise for a file that is not a model
            raise damaged(path, error) from error
        inputs, outputs = _names(model.inputs), _names(model.outputs)
        check_signature(metadata, path, inputs=inputs, outputs=outputs)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        request = core.compile_model(model, "CPU", settings).create_infer_request()

        def compute(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            found = request.infer(dict(enumerate(arrays)), share_inputs=True)
            return [np.array(found[place]) for place in range(len(outputs))]

        return ExportedBackend(self.name, metadata, compute)


def _save(openvino: Any, model: Any, metadata: ModelMetadata, path: Path) -> None:
    model.set_rt_info(to_json(metadata), [METADATA_KEY, _METADATA])
    openvino.save_model(model, path, compress_to_fp16=False)
    model.set_rt_info(file_sha256(path.with_suffix(".bin")), [METADATA_KEY, _WEIGHTS])
    openvino.save_model(model, path, compress_to_fp16=False)


def _read_rt_info(path: Path) -> dict[str, str]:
    """What `_save` wrote into the .xml.

    Read without the library, which tries other formats on a file that is not XML, and complains
    about each.
    """
    if path.stat().st_size > _MAX_XML_BYTES:
        raise ValueError(f"expected at most {_MAX_XML_BYTES} bytes")
    stored = ElementTree.parse(path).getroot().find(f"rt_info/{METADATA_KEY}")
    return {} if stored is None else {entry.tag: entry.get("value", "") for entry in stored}


def _check_graph(model: Any) -> None:
    """Raise ValueError for a model that loops, or would fill the memory."""
    nodes = model.get_ops()
    if found := {node.get_type_name() for node in nodes} & _CONTROL:
        raise ValueError(f"it has layers of type {', '.join(sorted(found))}")
    shapes = [output.get_partial_shape() for node in nodes for output in node.outputs()]
    check_sizes(
        [size.get_length() if size.is_static else 1 for size in shape]
        for shape in shapes
        if shape.rank.is_static
    )


def _names(ports: Iterable[Any]) -> list[str]:
    return [port.get_any_name() for port in ports]


def _inner_layers(model: Any) -> set[str]:
    """Names of the nodes to quantize."""
    layers, consumers = set(), {}
    for node in model.get_ops():
        name = node.get_friendly_name()
        consumers[name] = [
            target.get_node().get_friendly_name()
            for output in node.outputs()
            for target in output.get_target_inputs()
        ]
        if node.get_type_name() in _LAYERS and is_learned(_weights_shape(node)):
            layers.add(name)
    inputs = [node.get_friendly_name() for node in model.get_parameters()]
    outputs = [node.get_friendly_name() for node in model.get_results()]
    return inner_layers(layers, consumers, inputs=inputs, outputs=outputs)


def _weights_shape(node: Any) -> tuple[int, ...]:
    """Shape of a layer's weights as (outputs, inputs, ...); () where they are computed."""
    weights = node.input_value(1)
    if weights.get_node().get_type_name() != "Constant":
        return ()
    shape = tuple(weights.get_shape())
    if node.get_type_name().startswith("Group"):  # (groups, outputs of each, inputs of each)
        return (shape[0] * shape[1], *shape[2:])
    return shape
