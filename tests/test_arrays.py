"""Arrays from outside: nothing is expanded, allocated or unpickled that is not as expected."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsule_inspection.arrays import Layout, read_arrays
from capsule_inspection.types import RunError

LAYOUTS = {"values": Layout("f", ("rows", 3)), "names": Layout("U", ("rows",))}
LIMITS = {"rows": 10}
WHOLE: dict[str, Any] = {
    "values": np.arange(6, dtype=np.float16).reshape(2, 3),
    "names": np.array(["a", "膠"]),
}


def read(path: Path) -> dict[str, np.ndarray]:
    return read_arrays(path, LAYOUTS, limits=LIMITS, remedy="Remove it.", optional=("names",))


def member(header: str, content: bytes = b"", *, version: bytes = b"\x01\x00") -> bytes:
    """An .npy file with any header."""
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + content


def header(shape: str = "(2, 3)", descr: str = "'<f2'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def write(path: Path, members: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_were_saved(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    save(path, **{**WHOLE, "values": np.asfortranarray(WHOLE["values"])})
    found = read(path)
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in WHOLE.items()
    }
    assert not found["values"].flags.writeable
    save(path, values=np.zeros((0, 3)))
    assert list(read(path)) == ["values"]
    save(path, values=np.zeros((0, 3)), other=np.zeros(5))
    with pytest.raises(RunError, match=r"unexpected: 'other\.npy'"):
        read(path)


CONTENT = WHOLE["values"].tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (member(header("(99999999999999, 3)")), r"rows <= 10.*found float16 \(99999999999999, 3\)"),
        (member(header("(-1, 3)"), CONTENT), r"\(-1, 3\)"),
        (member(header("(2, 1e3)"), CONTENT), "cannot be read"),
        (member(header("(2, 4)"), CONTENT), r"\(2, 4\)"),
        (member(header("()"), CONTENT), r"found float16 \(\)"),
        (member(header("(3, 3)"), CONTENT), "values has 12 bytes, its header expects 18"),
        (member(header(descr="'O'"), CONTENT), "found object"),
        (member(header(descr="'<f2,<f2'"), CONTENT), "found"),
        (member(header(descr="'(2,)<f2'"), CONTENT), "found"),
        (member(header(descr="'<f9'"), CONTENT), "cannot be read"),
        (member(header(descr="'f' + '2'"), CONTENT), "cannot be read"),
        (member(header("(" * 2000 + ")" * 2000), CONTENT), "cannot be read"),
        (member(header("(2L, 3L)"), CONTENT), "cannot be read"),
        (member("{" + " " * 50000), "cannot be read"),
        (member("\x00"), "cannot be read"),
        (member(header(), CONTENT, version=b"\x09\x00"), "cannot be read"),
        (member(header(), np.full(6, np.inf, np.float16).tobytes()), "finite numbers in values"),
        (b"", "cannot be read"),
    ],
)  # fmt: skip
def test_a_header_that_is_not_as_expected_is_named(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path / "a.npz", {"values.npy": content})
    with pytest.raises(RunError, match=message) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: cannot be read")
    assert str(raised.value).endswith("Remove it.")


def test_an_archive_that_expands_further_than_its_arrays_is_not_expanded(tmp_path: Path) -> None:
    bomb = write(tmp_path / "a.npz", {"values.npy": bytes(50_000_000)}, method=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(RunError, match="expands to 50000000 bytes, expected at most"):
        read(bomb)
    bomb.write_bytes(bytes(1_000_000))
    with pytest.raises(RunError, match="it has 1000000 bytes, expected at most"):
        read(bomb)


def test_odd_archives_are_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.npz", io.BytesIO()
    np.save(whole, WHOLE["values"])
    write(path, {"values.npy": whole.getvalue()}, method=zipfile.ZIP_LZMA)
    with pytest.raises(RunError, match="compressed in an unexpected way"):
        read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values.npy", whole.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("values.npy", whole.getvalue())
    with pytest.raises(RunError, match="two members have one name"):
        read(path)
    with pytest.raises(RunError, match="no array values"):
        read(write(path, {"other.npy": b""}))


def test_every_flipped_bit_ends_in_the_same_arrays_or_in_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **WHOLE)
    whole, refused = path.read_bytes(), 0
    expected = {name: array.tolist() for name, array in WHOLE.items()}
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = read(path)
        except RunError:
            refused += 1
        else:
            assert {name: array.tolist() for name, array in found.items()} == expected
    assert refused > len(whole) / 2
