"""Damage of files: bytes anywhere, or values where the format of the file stays as it is.

Random bytes rarely come past checksums and parsers; changed values do.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import yaml
from numpy.random import Generator

Mutation = tuple[bytes, str]
"""The content of a file, and what was done to it."""
Item = TypeVar("Item")
_EDGE_BYTES = 600
"""Half of all offsets are as near to the beginning or the end, where headers are."""


def damage_file(path: Path, rng: Generator, *, structured: bool) -> str:
    """Damage a file; returns a description. It differs afterwards."""
    before = path.read_bytes()
    change = STRUCTURED.get(path.suffix, change_bytes) if structured and before else change_bytes
    for _ in range(20):
        content, damage = change(before, rng)
        if content != before:
            break
    else:
        content, damage = before + b"\0", "one byte added at the end"
    path.write_bytes(content)
    return damage


def choose(items: Sequence[Item], rng: Generator) -> Item:
    return items[int(rng.integers(len(items)))]


def change_bytes(content: bytes, rng: Generator) -> Mutation:
    """Flip, cut, swap, fill with zeros, double, remove or insert bytes."""
    at, other = sorted(_offset(len(content), rng) for _ in range(2))
    size = int(2 ** rng.uniform(0, 12))
    start, block, rest = content[:at], content[at : at + size], content[at + size :]
    bit = 1 << int(rng.integers(8))
    second, end = content[other : other + size], content[other + size :]
    changed = {
        "a bit flipped": start + bytes([(block or b"\0")[0] ^ bit]) + content[at + 1 :],
        "cut": start,
        "zeros": start + bytes(len(block)) + rest,
        "random bytes": start + rng.bytes(len(block)) + rest,
        "doubled": start + block + block + rest,
        "removed": start + rest,
        "inserted": start + rng.bytes(size) + block + rest,
        "swapped": start + second + content[at + size : other] + block + end,
    }
    if rng.random() < 0.02:
        return b"", "emptied"
    name = choose(["a bit flipped", *changed], rng)
    return changed[name], f"{name}: {len(block)} bytes at {at}"


def _offset(length: int, rng: Generator) -> int:
    edge, anywhere = int(rng.integers(_EDGE_BYTES)), int(rng.integers(length + 1))
    return choose((min(edge, length), max(length - 1 - edge, 0), anywhere, anywhere), rng)


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
        for key in _keys(at):
            yield at, key
            pending.append(at[key])


def _keys(tree: Any) -> list[Any]:
    if isinstance(tree, MutableMapping):
        return list(tree)
    return list(range(len(tree))) if isinstance(tree, list) else []


def change_tree(tree: Any, rng: Generator) -> tuple[Any, str]:
    """Replace, remove, add, rename or double one value of a tree of plain values."""
    # Levels alike: a large table of numbers would otherwise take nearly all.
    parents = list({id(parent): parent for parent, _ in nodes(tree)}.values())
    value = copy.deepcopy(choose(VALUES, rng))
    if not parents or rng.random() < 0.05:
        return value, f"everything replaced by {value!r:.60}"
    parent = choose(parents, rng)
    key = choose(_keys(parent), rng)
    kind = choose([*["replaced"] * 7, "removed", "renamed", "added"], rng)
    if rng.random() < 0.3:
        value = choose(_near(parent[key]), rng)
    if kind == "replaced":
        parent[key] = value
    elif kind == "removed":
        del parent[key]
    elif isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    elif kind == "renamed":
        parent[f"{key}x"] = parent.pop(key)
    else:
        parent[choose(["unknown", "_target_", "", "0"], rng)] = value
    return tree, f"{key} {kind}, value {value!r:.60}"


def _near(value: Any) -> list[Any]:
    """Values of the same type, and the same value as other types."""
    others = [str(value), [value], {"0": value}]
    if isinstance(value, int | float):
        return [*others, not value, value + 1, -value, value * 1000, float(value)]
    return [*others, value[:-1], value.upper(), value + "x"] if isinstance(value, str) else others


def change_json(content: bytes, rng: Generator) -> Mutation:
    tree, damage = change_tree(json.loads(content), rng)
    return json.dumps(tree, indent=2).encode(), damage


def change_json_lines(content: bytes, rng: Generator) -> Mutation:
    rows, damage = change_tree([json.loads(line) for line in content.splitlines()], rng)
    rows = rows if isinstance(rows, list) else [rows]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows), damage


def change_yaml(content: bytes, rng: Generator) -> Mutation:
    tree, damage = change_tree(yaml.safe_load(content), rng)
    try:
        text = yaml.safe_dump(tree, sort_keys=False)
    except RecursionError:  # JSON is YAML too, and PyYAML nests less deeply
        text = json.dumps(tree)
    return text.encode("utf-8", "surrogatepass"), damage


CELLS = (
    "", "nan", "-1", "1e400", "x", "0", "1.5", "99999999999999999999", '"', "good", "test", "NaN",
    "inf", "a,b", "\0", "\ud800", "x" * 200_000, "../../etc/passwd", "2", "True", "1e-300", " ",
)  # fmt: skip


def change_csv(content: bytes, rng: Generator) -> Mutation:
    """Change a cell; remove, double or swap rows; remove or double columns."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    at, other = (int(place) for place in rng.integers(len(rows), size=2))
    column, value = int(rng.integers(len(rows[0]))), choose(CELLS, rng)
    cell, swapped = copy.deepcopy(rows), [*rows]
    cell[at][column] = value
    swapped[at], swapped[other] = rows[other], rows[at]
    changed = {
        f"replaced by {value!r:.60}": cell,
        "row removed": rows[:at] + rows[at + 1 :],
        "row doubled": rows[: at + 1] + rows[at:],
        f"row swapped with {other}": swapped,
        "column removed": [cells[:column] + cells[column + 1 :] for cells in rows],
        "column doubled": [[*cells, *cells[column : column + 1]] for cells in rows],
    }
    name = choose([*[*changed][:1] * 3, *changed], rng)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(changed[name])
    return text.getvalue().encode("utf-8", "surrogatepass"), f"row {at} column {column}: {name}"


_DTYPES = ("f8", "i1", "u8", "?", "c16", "U3", "M8[s]", "f2", "V4", "S2")


def change_array(array: np.ndarray, rng: Generator) -> tuple[Any, str]:
    """Another shape, type or value."""
    rows, filled = np.atleast_1d(array), np.array(array)
    fill = choose((np.nan, np.inf, -1.0, 255.0, 2.0**40, 0.0), rng)
    with np.errstate(invalid="ignore"):
        filled.reshape(-1)[_some(filled.size, rng)] = np.array(fill).astype(array.dtype)
    changed = {
        f"values {fill}": filled,
        "other type": np.zeros(array.shape, choose(_DTYPES, rng)),
        "objects": array.astype(object),
        "one axis more": array[None],
        "one axis": array.reshape(-1),
        "one row less": rows[:-1],
        "no row": rows[:0],
        "very many zeros": np.broadcast_to(np.zeros((), array.dtype), (3_000_000, 8)),
        "axes swapped": np.swapaxes(rows, 0, -1),
    }
    name = choose([*[*changed][:2] * 2, *changed], rng)
    return changed[name], name


def _some(size: int, rng: Generator) -> Any:
    """All places or one."""
    return slice(None) if rng.random() < 0.5 else int(rng.integers(size or 1))


def change_npz(content: bytes, rng: Generator) -> Mutation:
    if rng.random() < 0.4:
        return change_member(content, rng)
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays: dict[str, Any] = dict(stored)
    name, kind = choose(list(arrays), rng), rng.random()
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


_SHAPES = (b"(99999999999999,)", b"(-1,)", b"(2, 1e3)", b"()", b"(1,2,3,4,5,6,7)", b"(0,)")


def change_member(content: bytes, rng: Generator) -> Mutation:
    """Damage a member of an archive; its checksum fits."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    at, kind = int(rng.integers(len(members))), rng.random()
    info, data = members[at]
    if kind < 0.1:
        del members[at]
        damage = "removed"
    elif kind < 0.2:
        members.insert(at, members[at])
        damage = "doubled"
    elif info.filename.endswith(".npy") and kind < 0.6:
        shape, first, end = choose(_SHAPES, rng), data.find(b"'shape': (") + 9, data.find(b"\n")
        members[at] = info, (data[:first] + shape + b", }").ljust(end) + data[end:]
        damage = f"shape {shape.decode()}"
    else:
        changed, damage = change_bytes(data, rng)
        members[at] = info, changed
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for of, data in members:
            archive.writestr(zipfile.ZipInfo(of.filename), data, of.compress_type)
    return stream.getvalue(), f"member {info.filename}: {damage}"


def change_tensor(tensor: torch.Tensor, rng: Generator) -> tuple[Any, str]:
    """Another shape, type, layout or value."""
    rows, filled = torch.atleast_1d(tensor), tensor.clone()
    fill = choose((float("nan"), float("inf"), 1e30, -1.0), rng)
    places = _some(filled.numel(), rng)
    filled.reshape(-1)[places] = fill if tensor.is_floating_point() else -1
    changed: dict[str, Callable[[], Any]] = {
        f"values {fill}": lambda: filled,
        "other type": lambda: tensor.half() if tensor.dtype == torch.double else tensor.double(),
        "complex numbers": lambda: tensor.to(torch.complex64),
        "integers": lambda: tensor.to(torch.int64),
        "one axis": lambda: tensor.reshape(-1),
        "one axis more": lambda: tensor[None],
        "empty": lambda: rows[:0],
        "sparse": rows.to_sparse,
        "no storage": lambda: torch.empty(tensor.shape, device="meta"),
        "very many equal numbers": lambda: torch.zeros(1).expand(10**6, 10**6),
        "a strided view": lambda: torch.stack([rows, rows], -1)[..., 0],
    }
    name = choose([*[*changed][:1] * 3, *changed], rng)
    return changed[name](), name


def change_checkpoint(content: bytes, rng: Generator) -> Mutation:
    """Change a value or a tensor of a checkpoint; or a member of the archive."""
    if rng.random() < 0.3:
        return change_member(content, rng)
    tree = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    tensors = [(at, key) for at, key in nodes(tree) if isinstance(at[key], torch.Tensor)]
    if tensors and rng.random() < 0.5:
        parent, key = choose(tensors, rng)
        parent[key], damage = change_tensor(parent[key], rng)
        damage = f"{key}: {damage}"
    else:
        tree, damage = change_tree(tree, rng)
    stream = io.BytesIO()
    torch.save(tree, stream)
    return stream.getvalue(), damage


STRUCTURED: dict[str, Callable[[bytes, Generator], Mutation]] = {
    ".json": change_json,
    ".jsonl": change_json_lines,
    ".yaml": change_yaml,
    ".csv": change_csv,
    ".npz": change_npz,
    ".ckpt": change_checkpoint,
    ".pt2": change_member,
}
