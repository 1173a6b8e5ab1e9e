"""torch.export: one .pt2 file that PyTorch loads without this package.

`torch.export.load` runs code that a file brings: it unpickles tensors and sample inputs, evaluates
expressions of sizes with sympy, takes any function of torch as an operator, and executes guards
(torch 2.15). So `open` admits raw tensors and a graph of ATen operators only, and hands torch an
archive that it writes anew from them. Other programs have no such check: there, load only files
that you trust.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from capsule_inspection.archives import DAMAGE, open_stored
from capsule_inspection.inference.formats.base import (
    METADATA_KEY,
    ExportedBackend,
    ExportFormat,
    check_signature,
    check_sizes,
    damaged,
    export_program,
    quiet,
    read_metadata,
    to_json,
)
from capsule_inspection.inference.formats.operators import OPERATORS
from capsule_inspection.inference.metadata import ModelMetadata
from capsule_inspection.tasks.post_processor import post_processor_type

if TYPE_CHECKING:
    from capsule_inspection.tasks.inference_model import InferenceModel

_METADATA = f"{METADATA_KEY}.json"
_GRAPH = "models/model.json"
_TENSOR_LISTS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_FORMAT = ("archive_format", "archive_version", "byteorder", ".data/version")
_NAME = re.compile(r"(?!torch\.|_operator|math\.)[\w.+-]*")
_OPERATOR = re.compile(
    rf"torch\.ops\.aten\.(?!upsample_\w+\.(?!vec))({'|'.join(OPERATORS)})_?\.\w+"
    r"|_operator\.(add|sub|mul|floordiv|mod|neg|eq|ne|ge|gt|le|lt)"
)
_SIZE = re.compile(r"(?:Symbol|Integer|Mul|Add|positive|integer|True|s(?=\d)|\d|[ '(),=])*")
_STRUCTURE = re.compile(
    r'(?:"(?:type|context|children_spec|builtins\.tuple|builtins\.dict|null|\[\])"'
    r"|null|[\[\]{} ,:\d])*"
)
_PATTERNS = {
    "target": _OPERATOR,
    # A division that truncates -2**63 / -1 would end the process.
    "as_string": re.compile(r"(?!trunc|torch\.|_operator|math\.)[\w.+-]*"),
    "expr_str": _SIZE,
    "in_spec": _STRUCTURE,
    "out_spec": _STRUCTURE,
}


class TorchExport(ExportFormat):
    """See `ExportFormat`."""

    name: ClassVar[str] = "torch_export"

    def write(self, model: InferenceModel, metadata: ModelMetadata, path: Path) -> None:
        import torch

        program = export_program(model, metadata)
        program.example_inputs = None
        content = io.BytesIO()  # PyTorch's own writer aborts the process where the disk is full
        with quiet():
            torch.export.save(program, content, extra_files={_METADATA: to_json(metadata)})
        path.write_bytes(content.getbuffer())

    def open(self, path: Path, *, threads: int) -> ExportedBackend:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        try:
            with open_stored(path) as archive:
                members = {
                    name.partition("/")[2]: archive.read(name) for name in archive.namelist()
                }
        except DAMAGE as error:
            raise damaged(path, error) from error
        metadata = read_metadata(
            members.get(f"extra/{_METADATA}", b"").decode("ascii", "replace"), path
        )
        try:
            with quiet():
                program = torch.export.load(_without_code(members))
                module = program.module(check_guards=False)
        except Exception as error:  # whatever the library raises for a file that is not a model
            raise damaged(path, error) from error
        signature = program.graph_signature
        expected = post_processor_type(metadata.task, where=str(path))
        found_outputs = [f"output {number}" for number in range(len(signature.user_outputs))]
        check_signature(
            metadata,
            path,
            inputs=_known(expected.inputs, signature.user_inputs),
            outputs=_known(expected.outputs, found_outputs),
        )
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")

        def compute(arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
            with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):  # it compares the lengths
                outputs = module(*(torch.from_numpy(array) for array in arrays))
            return [output.numpy() for output in outputs]

        return ExportedBackend(self.name, metadata, compute)


def _known(expected: Sequence[str], found: Sequence[Any]) -> Sequence[str]:
    """The graph has no names of inputs and outputs: those of the task, where there are as many."""
    return expected if len(expected) == len(found) else [str(name) for name in found]


def _without_code(members: dict[str, bytes]) -> io.BytesIO:
    """A new archive of the members, none of which runs code. Raises ValueError for others."""
    graph = json.loads(members[_GRAPH])
    graph["guards_code"] = []
    for node in graph["graph_module"]["graph"]["nodes"]:
        node["metadata"] = {}
    safe = {_GRAPH: json.dumps(_checked(graph)).encode(), _SAMPLE_INPUTS: b""}
    for name in _TENSOR_LISTS:
        tensors = _checked(json.loads(members[name]))
        for entry in tensors["config"].values():
            location = f"{Path(name).parent.as_posix()}/{entry['path_name']}"
            if entry["use_pickle"] is not False or not _TENSOR.fullmatch(location):
                raise ValueError(f"{name}: a tensor is pickled, which could run code")
            shape = [size["as_int"] for size in entry["tensor_meta"]["sizes"]]
            if math.prod(shape) > len(members[location]):
                raise ValueError(f"{name}: a tensor of shape {shape} has not that many values")
        safe[name] = json.dumps(tensors).encode()
    safe |= {name: members[name] for name in _FORMAT}
    safe |= {name: content for name, content in members.items() if _TENSOR.fullmatch(name)}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as written:
        for name, content in safe.items():
            written.writestr(f"model/{name}", content)
    archive.seek(0)
    return archive


def _checked(value: Any, key: str = "") -> Any:
    """The value, all of whose strings are names, operators, sizes or structures of a graph."""
    if isinstance(value, dict):
        for name, item in value.items():
            _checked(name)
            _checked(item, name)
    elif isinstance(value, list):
        if key == "as_ints":
            check_sizes([value])
        for item in value:
            _checked(item, key)
    elif isinstance(value, str) and not _PATTERNS.get(key, _NAME).fullmatch(value):
        raise ValueError(f"{key or 'name'}={value[:80]!r} could run code")
    return value
