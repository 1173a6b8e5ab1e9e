"""Damage of files: bytes anywhere, or values where the format of the file stays as it is.

Random bytes rarely come past checksums and parsers; changed values do.
"""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml
from numpy.random import Generator

Mutation = tuple[bytes, str]
"""The content of a file, and what was done to it."""
_EDGE_BYTES = 600
"""Half of all offsets are as near to the beginning or the end, where headers are."""


def damage_file(path: Path, rng: Generator, *, structured: bool) -> str:
    """Damage a file; returns a description. It differs afterwards."""
    before = path.read_bytes()
    for _ in range(20):
        content, damage = _damage(path, before, rng, structured=structured)
        if content != before:
            path.write_bytes(content)
            return damage
    path.write_bytes(before + b"\0")
    return "one byte added at the end"


def _damage(path: Path, content: bytes, rng: Generator, *, structured: bool) -> Mutation:
    change = STRUCTURED.get(path.suffix) if structured else None
    if change is None or not content:
        return change_bytes(content, rng)
    return change(content, rng)


def change_bytes(content: bytes, rng: Generator) -> Mutation:
    """Flip, cut, swap, fill with zeros, double, remove or insert bytes."""
    at, other = _offset(len(content), rng), _offset(len(content), rng)
    size = int(2 ** rng.uniform(0, 12))
    block = content[at : at + size]
    kind = int(rng.integers(9))
    if kind < 2:
        bit = 1 << int(rng.integers(8))
        flipped = bytes([content[at] ^ bit]) if content else b"\1"
        return content[:at] + flipped + content[at + 1 :], f"bit {bit} flipped at {at}"
    if kind == 2:
        return content[:at], f"cut at {at}"
    if kind == 3:
        zeros = bytes(len(block))
        return content[:at] + zeros + content[at + size :], f"{len(block)} zeros at {at}"
    if kind == 4:
        noise = rng.bytes(len(block))
        return content[:at] + noise + content[at + size :], f"{len(block)} random bytes at {at}"
    if kind == 5:
        return content[: at + size] + content[at:], f"{len(block)} bytes doubled at {at}"
    if kind == 6:
        return content[:at] + content[at + size :], f"{len(block)} bytes removed at {at}"
    if kind == 7:
        low, high = sorted((at, other))
        size = min(size, (high - low) or 1)
        first, second = content[low : low + size], content[high : high + size]
        swapped = content[:low] + second + content[low + size : high] + first
        return swapped + content[high + size :], f"{size} bytes swapped at {low} and {high}"
    if rng.random() < 0.2:
        return b"", "emptied"
    return content[:at] + rng.bytes(size) + content[at:], f"{size} random bytes inserted at {at}"


def _offset(length: int, rng: Generator) -> int:
    place = int(rng.integers(4))
    if place == 0:
        return int(rng.integers(min(_EDGE_BYTES, length) + 1)) if length else 0
    if place == 1:
        return max(length - 1 - int(rng.integers(_EDGE_BYTES)), 0)
    return int(rng.integers(max(length, 1)))


# Structured damage

_NESTED: Any = None
for _ in range(400):
    _NESTED = [_NESTED]
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3.5, -1e-300, 1e308, 10**30, 2**31, 2**63, 10**400,
    float("nan"), float("inf"), float("-inf"), "", "x", "0", "a/../../b", "\u2028", "\ud800", "\0",
    "<script>", "x" * 5000, "99999999999999999999", [], [0], {}, {"x": 1}, [None, "x", []], _NESTED,
    "${oc.env:HOME}", "nan", "null", [[1, 2], [3]], {"_target_": "os.mkdir"},
)  # fmt: skip


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a tree of dictionaries and lists, with a key of it."""
    pending = [tree]
    while pending:
        at = pending.pop()
        if isinstance(at, MutableMapping):
            keys: Sequence[Any] = list(at)
        else:
            keys = range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            yield at, key
            if isinstance(at[key], MutableMapping | list):
                pending.append(at[key])


def change_tree(tree: Any, rng: Generator) -> tuple[Any, str]:
    """Replace, remove, add, rename or double one value of a tree of plain values."""
    every = list(nodes(tree))
    if not every or rng.random() < 0.05:
        value = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
        return value, f"everything replaced by {value!r:.60}"
    # Levels alike: a large table of numbers would otherwise take nearly all.
    parents = list({id(parent): parent for parent, _ in every}.values())
    parent = parents[int(rng.integers(len(parents)))]
    keys = list(parent) if isinstance(parent, MutableMapping) else list(range(len(parent)))
    key = keys[int(rng.integers(len(keys)))]
    kind = int(rng.integers(10))
    if kind < 7:
        value = VALUES[int(rng.integers(len(VALUES)))]
        if rng.random() < 0.3:
            value = _near(parent[key], rng)
        parent[key] = copy.deepcopy(value)
        return tree, f"{key} replaced by {value!r:.60}"
    if kind == 7 or not isinstance(parent, MutableMapping):
        if isinstance(parent, list) and rng.random() < 0.5:
            parent.append(copy.deepcopy(parent[key]))
            return tree, f"entry {key} doubled"
        del parent[key]
        return tree, f"{key} removed"
    if kind == 8:
        parent[f"{key}x"] = parent.pop(key)
        return tree, f"{key} renamed"
    parent[["unknown", "_target_", "", "0"][int(rng.integers(4))]] = "x"
    return tree, "a key added"


def _near(value: Any, rng: Generator) -> Any:
    """A value of the same type, or the same value as another type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return [value + 1, -value, value * 1000, str(value), float(value), [value]][
            int(rng.integers(6))
        ]
    if isinstance(value, str):
        return [value[:-1], value.upper(), value + "x", [value], {value: value}][
            int(rng.integers(5))
        ]
    return [str(value), [value], {"0": value}][int(rng.integers(3))]


def change_json(content: bytes, rng: Generator) -> Mutation:
    tree, damage = change_tree(json.loads(content), rng)
    return json_bytes(tree, indent=2), damage


def change_json_lines(content: bytes, rng: Generator) -> Mutation:
    rows, damage = change_tree([json.loads(line) for line in content.splitlines()], rng)
    rows = rows if isinstance(rows, list) else [rows]
    return b"".join(json_bytes(row) + b"\n" for row in rows), damage


def change_json_gz(content: bytes, rng: Generator) -> Mutation:
    changed, damage = change_json(gzip.decompress(content), rng)
    return gzip.compress(changed, 1, mtime=0), damage


def json_bytes(tree: Any, indent: int | None = None) -> bytes:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(tree, indent=indent).encode()
    finally:
        sys.set_int_max_str_digits(before)


def change_yaml(content: bytes, rng: Generator) -> Mutation:
    tree, damage = change_tree(yaml.safe_load(content), rng)
    try:
        text = yaml.safe_dump(tree, sort_keys=False)
    except RecursionError:  # JSON is YAML too, and PyYAML nests less deeply
        return json_bytes(tree), damage
    return text.encode("utf-8", "surrogatepass"), damage


CELLS = (
    "", "nan", "-1", "1e400", "x", "0", "1.5", "99999999999999999999", '"', "good", "test", "NaN",
    "inf", "a,b", "\0", "\ud800", "x" * 200_000, "../../etc/passwd", "2", "True", "1e-300", " ",
)  # fmt: skip


def change_csv(content: bytes, rng: Generator) -> Mutation:
    """Change a cell; remove, double or swap rows; remove, double or rename columns."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row, column = int(rng.integers(len(rows))), int(rng.integers(len(rows[0])))
    other = int(rng.integers(len(rows)))
    kind = int(rng.integers(9))
    if kind < 4:
        value = CELLS[int(rng.integers(len(CELLS)))]
        rows[row][column], damage = value, f"row {row} column {column} replaced by {value!r:.60}"
    elif kind == 4:
        damage = f"row {row} removed"
        del rows[row]
    elif kind == 5:
        damage = f"row {row} doubled"
        rows.insert(row, rows[row])
    elif kind == 6:
        damage = f"rows {row} and {other} swapped"
        rows[row], rows[other] = rows[other], rows[row]
    elif kind == 7:
        damage = f"column {rows[0][column]} removed"
        rows = [cells[:column] + cells[column + 1 :] for cells in rows]
    else:
        damage = f"column {rows[0][column]} doubled"
        rows = [[*cells, *cells[column : column + 1]] for cells in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass"), damage


def change_array(array: np.ndarray, rng: Generator) -> tuple[Any, str]:
    """Another shape, type or value."""
    shaped: dict[str, Callable[[], Any]] = {
        "objects": lambda: array.astype(object),
        "one axis more": lambda: array[None],
        "one axis": lambda: array.reshape(-1),
        "one row less": lambda: np.atleast_1d(array)[:-1],
        "no row": lambda: np.atleast_1d(array)[:0],
        "very many zeros": lambda: np.broadcast_to(np.zeros((), array.dtype), (3_000_000, 8)),
        "axes swapped": lambda: np.swapaxes(np.atleast_1d(array), 0, -1),
    }
    kind, names = int(rng.integers(11)), list(shaped)
    if kind < len(names):
        return shaped[names[kind]](), names[kind]
    if kind == len(names):
        name = ("f8", "i1", "u8", "?", "c16", "U3", "M8[s]", "f2", "V4", "S2")[rng.integers(10)]
        return np.zeros(array.shape, name), f"type {name}"
    changed, fill = np.array(array), (np.nan, np.inf, -1, 255, 2**40, 0)[rng.integers(6)]
    if array.dtype.kind == "f" or (array.dtype.kind in "iu" and np.isfinite(fill)):
        some = slice(None) if rng.random() < 0.5 else int(rng.integers(changed.size or 1))
        changed.reshape(-1)[some] = np.array(fill).astype(array.dtype)
    return changed, f"values {fill}"


def change_npz(content: bytes, rng: Generator) -> Mutation:
    if rng.random() < 0.4:
        return change_member(content, rng)
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays: dict[str, Any] = dict(stored)
    name = list(arrays)[int(rng.integers(len(arrays)))]
    kind = rng.random()
    if kind < 0.15:
        del arrays[name]
        damage = "removed"
    elif kind < 0.2:
        arrays["unknown"], damage = arrays[name], "added under another name"
    else:
        arrays[name], damage = change_array(arrays[name], rng)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue(), f"{name}: {damage}"


def change_member(content: bytes, rng: Generator) -> Mutation:
    """Damage a member of an archive; its checksum fits."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info), info.compress_type)
                   for info in archive.infolist()]  # fmt: skip
    chosen = int(rng.integers(len(members)))
    name, data, how = members[chosen]
    damage = "removed"
    if rng.random() < 0.1:
        del members[chosen]
    elif rng.random() < 0.1:
        members.insert(chosen, members[chosen])
        damage = "doubled"
    elif name.endswith(".npy") and rng.random() < 0.5:
        shape = ["(99999999999999,)", "(-1,)", "(2, 1e3)", "()", "(1,2,3,4,5,6,7)", "(0,)"]
        huge = shape[int(rng.integers(len(shape)))].encode()
        first = data.find(b"'shape': (") + 9
        padded = (data[:first] + huge + b", }").ljust(data.find(b"\n")) + data[data.find(b"\n") :]
        members[chosen], damage = (name, padded, how), f"shape {huge.decode()}"
    else:
        changed, damage = change_bytes(data, rng)
        members[chosen] = (name, changed, how)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for filename, data, compression in members:
            archive.writestr(zipfile.ZipInfo(filename), data, compression)
    return stream.getvalue(), f"member {name}: {damage}"


def change_tensor(tensor: torch.Tensor, rng: Generator) -> tuple[Any, str]:
    """Another shape, type, layout or value."""
    shaped: dict[str, Callable[[], Any]] = {
        "other type": lambda: tensor.half() if tensor.dtype == torch.double else tensor.double(),
        "complex numbers": lambda: tensor.to(torch.complex64),
        "integers": lambda: tensor.to(torch.int64),
        "one axis": lambda: tensor.reshape(-1),
        "one axis more": lambda: tensor[None],
        "empty": lambda: torch.atleast_1d(tensor)[:0],
        "sparse": lambda: torch.atleast_1d(tensor).to_sparse(),
        "no storage": lambda: torch.empty(tensor.shape, device="meta"),
        "very many equal numbers": lambda: torch.zeros(1).expand(10**6, 10**6),
        "a strided view": lambda: torch.stack([tensor, tensor], -1)[..., 0],
    }
    names = list(shaped)
    kind = int(rng.integers(len(names) + 3))
    if kind < len(names) and (tensor.ndim or kind < 9):
        return shaped[names[kind]](), names[kind]
    value = (float("nan"), float("inf"), 1e30, -1.0)[rng.integers(4)]
    changed = tensor.clone()
    some = slice(None) if rng.random() < 0.5 else int(rng.integers(changed.numel() or 1))
    changed.reshape(-1)[some] = value if tensor.is_floating_point() else -1
    return changed, f"values {value}"


def change_checkpoint(content: bytes, rng: Generator) -> Mutation:
    """Change a value or a tensor of a checkpoint; or a member of the archive."""
    if rng.random() < 0.3:
        return change_member(content, rng)
    tree = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    tensors = [(parent, key) for parent, key in nodes(tree)
               if isinstance(parent[key], torch.Tensor)]  # fmt: skip
    if tensors and rng.random() < 0.5:
        parent, key = tensors[int(rng.integers(len(tensors)))]
        parent[key], damage = change_tensor(parent[key], rng)
        damage = f"{key}: {damage}"
    else:
        tree, damage = change_tree(tree, rng)
    stream = io.BytesIO()
    torch.save(tree, stream)
    return stream.getvalue(), damage


def change_safetensors(content: bytes, rng: Generator) -> Mutation:
    """Change the header, a tensor or the metadata."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    if rng.random() < 0.5:
        header, damage = change_tree(header, rng)
        changed = json_bytes(header)
        return len(changed).to_bytes(8, "little") + changed + content[8 + size :], damage
    tensors = safetensors.torch.load(content)
    name = list(tensors)[int(rng.integers(len(tensors)))]
    changed, damage = change_tensor(tensors[name], rng)
    if changed.layout != torch.strided or changed.is_meta or changed.numel() > 10**7:
        changed, damage = tensors[name][None], "one axis more"
    tensors[name] = changed.contiguous()
    return safetensors.torch.save(tensors, header.get("__metadata__")), f"{name}: {damage}"


STRUCTURED: dict[str, Callable[[bytes, Generator], Mutation]] = {
    ".json": change_json,
    ".jsonl": change_json_lines,
    ".gz": change_json_gz,
    ".yaml": change_yaml,
    ".csv": change_csv,
    ".npz": change_npz,
    ".ckpt": change_checkpoint,
    ".pt2": change_member,
    ".safetensors": change_safetensors,
}
