"""Files of `torch.save`, read without running code, within the memory that their size implies.

`torch.load(weights_only=True)` still builds what a file names, such as a `bytearray` of any size,
expands compressed members, and does not check the CRC-32. So archives are checked before, and
pickles may name tensors and plain values only. Files of PyTorch before 1.6 have no checksums.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from capsule_inspection.archives import open_stored

_GLOBALS = re.compile(
    r"collections (OrderedDict|Counter)|(__builtin__|builtins) (set|complex)"
    r"|torch\._utils _rebuild_(tensor(_v[23])?|parameter(_with_state)?)"
    r"|torch\._tensor _rebuild_from_type_v2|torch\.storage UntypedStorage"
    r"|torch (\w+Storage|device|Size|bool|(u?int|b?float|complex)\w*)"
)
_UNSAFE = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
_ARCHIVE = b"PK\x03\x04"
_LEGACY_PICKLES = 5
"""Magic number, protocol, system, content and keys; the storages are behind them."""


def load_tensors(path: Path) -> Any:
    """The content of a file in CPU memory: dense tensors and plain values.

    Raises pickle.UnpicklingError where it holds more than these, or another of `archives.DAMAGE`
    where it is damaged.
    """
    with path.open("rb") as file:
        is_archive = file.read(len(_ARCHIVE)) == _ARCHIVE  # as torch.load decides
        file.seek(0)
        for _ in range(0 if is_archive else _LEGACY_PICKLES):
            _check_globals(file)
    if is_archive:
        with open_stored(path) as archive:
            # PyTorch finds members without regard to case.
            names = [name for name in archive.namelist() if name.casefold().endswith(".pkl")]
            if len(names) != 1 or not names[0].endswith("/data.pkl"):
                raise ValueError(f"expected one pickle, data.pkl, found {len(names)}")
            with archive.open(names[0]) as pickled:
                _check_globals(pickled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of foreign pickles
        content = torch.load(path, map_location="cpu", weights_only=True)
    return _checked(content, path.stat().st_size, {})


def _check_globals(file: Any) -> None:
    """Raise UnpicklingError for a pickle that names more than tensors and plain values."""
    for opcode, argument, _ in pickletools.genops(file):
        is_unsafe = opcode.name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument))
        if is_unsafe or opcode.name in _UNSAFE:
            raise pickle.UnpicklingError(f"{opcode.name} {argument or ''}")


def _checked(value: Any, file_size: int, known: dict[int, Any]) -> Any:
    """The value with plain dicts: a pickle can replace methods of an OrderedDict.

    Raises ValueError for tensors that are not dense, or have more values than the file.
    """
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise ValueError(f"expected dense tensors, found {value.layout} on {value.device}")
        if not value.nbytes <= value.untyped_storage().nbytes() <= file_size:
            raise ValueError(f"a tensor of shape {tuple(value.shape)} has not that many values")
    elif isinstance(value, dict):
        known[id(value)] = plain = {}
        for key, item in dict.items(value):
            plain[key] = _checked(item, file_size, known)
        return plain
    elif type(value) in (list, tuple):
        known[id(value)] = type(value)(_checked(item, file_size, known) for item in value)
        return known[id(value)]
    return value
