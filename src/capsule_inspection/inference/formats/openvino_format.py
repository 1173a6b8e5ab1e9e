"""OpenVINO: an .xml file, and a .bin file beside it with the weights.

The description stands in the rt_info of the .xml, and with it the SHA-256 of the .bin: weights of
another model would be computed with in silence where both have the same layers.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from capsule_inspection.inference.description import Description
from capsule_inspection.inference.formats import (
    KEY,
    OPENVINO,
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
from capsule_inspection.types import RunError

_LAYERS = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
_DESCRIPTION, _WEIGHTS = (KEY, "description"), (KEY, "weights_sha256")


class OpenVino:
    """See `Format`."""

    packages: Sequence[str] = ("openvino", "nncf")

    def require(self, *, int8: bool) -> None:
        import_extra(*(self.packages if int8 else self.packages[:1]), extra=OPENVINO)

    def write(self, inspector: Inspector, description: Description, path: Path) -> None:
        (openvino,) = import_extra("openvino", extra=OPENVINO)
        examples = example_inputs(inspector, description)
        batch = torch.export.Dim("batch")
        with torch.no_grad(), quiet():
            program = torch.export.export(
                inspector,
                examples,
                dynamic_shapes={"inputs": tuple({0: batch} for _ in inspector.inputs)},
            )
            model = openvino.convert_model(program)
        names = (*inspector.inputs, *inspector.outputs)
        for port, name in zip((*model.inputs, *model.outputs), names, strict=True):
            port.get_tensor().set_names({name})
        model.reshape(
            {
                name: openvino.PartialShape([-1, *example.shape[1:]])
                for name, example in zip(inspector.inputs, examples, strict=True)
            }
        )
        _save(openvino, model, description, path)

    def quantise(
        self, path: Path, output: Path, description: Description, seen: Sequence[Arrays]
    ) -> None:
        openvino, nncf = import_extra("openvino", "nncf", extra=OPENVINO)
        nncf.set_log_level(logging.ERROR)
        model = openvino.Core().read_model(path)
        kept = {operation.get_friendly_name() for operation in model.get_ops()}
        kept -= _inner_layers(model)
        with quiet():
            quantised = nncf.quantize(
                model,
                nncf.Dataset(seen, dict),
                subset_size=len(seen),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=sorted(kept), validate=False),
                advanced_parameters=nncf.AdvancedQuantizationParameters(
                    overflow_fix=nncf.OverflowFix.ENABLE,  # 7 bits, which no processor overflows
                ),
            )
        _save(openvino, quantised, description, output)

    def open(self, path: Path, *, threads: int) -> Opened:
        (openvino,) = import_extra("openvino", extra=OPENVINO)
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise RunError(
                f"{path}: its weights, {weights.name}, are not beside it. Move both files together."
            )
        core = openvino.Core()
        try:
            text, sha256 = _read_told(path)
            description = read_text(text, path)
            if sha256 != _sha256(weights):
                raise RunError(
                    f"{weights}: damaged, or the weights of another model than {path.name}. "
                    "Restore both files from a copy, or export the run again."
                )
            model = core.read_model(path)
        except RunError:
            raise
        except Exception as error:  # whatever the libraries say of a file that is no model
            raise damaged(path, error) from error
        inputs, outputs = _names(model.inputs), _names(model.outputs)
        check_signature(description, path, inputs=inputs, outputs=outputs)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        request = core.compile_model(model, "CPU", settings).create_infer_request()

        def compute(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            found = request.infer(dict(enumerate(arrays)), share_inputs=True)
            return [np.array(found[place]) for place in range(len(outputs))]

        return Opened(description, ExportedEngine(OPENVINO, description, compute))


def _save(openvino: Any, model: Any, description: Description, path: Path) -> None:
    model.set_rt_info(as_text(description), list(_DESCRIPTION))
    openvino.save_model(model, path, compress_to_fp16=False)
    model.set_rt_info(_sha256(path.with_suffix(".bin")), list(_WEIGHTS))
    openvino.save_model(model, path, compress_to_fp16=False)


def _read_told(path: Path) -> tuple[str | None, str | None]:
    """The description and the SHA-256 of the weights, as they stand in the .xml.

    Read without the library, which takes what is no XML for other formats and complains about each.
    """
    told = ElementTree.parse(path).getroot().find(f"rt_info/{KEY}")
    found = (None if told is None else told.find(key) for key in (_DESCRIPTION[1], _WEIGHTS[1]))
    text, sha256 = (None if value is None else value.get("value") for value in found)
    return text, sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(ports: Iterable[Any]) -> list[str]:
    return [port.get_any_name() for port in ports]


def _inner_layers(model: Any) -> set[str]:
    """Names of the layers that may be quantised."""
    layers, feeds = set(), {}
    for operation in model.get_ops():
        name = operation.get_friendly_name()
        feeds[name] = [
            target.get_node().get_friendly_name()
            for output in operation.outputs()
            for target in output.get_target_inputs()
        ]
        if operation.get_type_name() in _LAYERS and is_layer(_weights_shape(operation)):
            layers.add(name)
    inputs = [node.get_friendly_name() for node in model.get_parameters()]
    outputs = [node.get_friendly_name() for node in model.get_results()]
    return inner(layers, feeds, inputs=inputs, outputs=outputs)


def _weights_shape(operation: Any) -> tuple[int, ...]:
    """Shape of a layer's weights as (outputs, inputs, ...); () where they are computed."""
    weights = operation.input_value(1)
    if weights.get_node().get_type_name() != "Constant":
        return ()
    shape = tuple(weights.get_shape())
    if operation.get_type_name().startswith("Group"):  # (groups, outputs of each, inputs of each)
        return (shape[0] * shape[1], *shape[2:])
    return shape
