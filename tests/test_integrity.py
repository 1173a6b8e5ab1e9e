"""Checksums, and the reader of records that may be damaged or from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from capsule_inspection import integrity
from capsule_inspection.integrity import check_files, content_of, read_json, read_sealed, seal
from capsule_inspection.types import RunError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"\xff", "can't decode"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[]", "expected an object, found list"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b"{}" + b" " * 5000, "more than 0 MB"),
    ],
)
def test_a_damaged_record_is_one_kind_of_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    if b" " * 5000 in content:
        monkeypatch.setattr(integrity, "_MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=message):
        read_json(path)


def test_a_folder_or_a_device_as_record_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "record.json").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "record.json"):
        with pytest.raises(ValueError, match="no regular file"):
            read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing")


def test_a_sealed_record_must_have_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for changed in ({"a": 2}, {"checksum": "0"}, {"b": None}):
        path.write_text(json.dumps(seal({"a": 1})))
        assert read_sealed(path)["a"] == 1
        path.write_text(json.dumps({**seal({"a": 1}), **changed}))
        with pytest.raises(ValueError, match="does not fit its checksum"):
            read_sealed(path)
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match="does not fit its checksum"):
        read_sealed(path)


def test_the_content_of_a_folder_is_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("a", "b/c/d"):
        (tmp_path / name).write_text(name)
    found = content_of(tmp_path)
    assert sorted(found) == ["a", "b/c/d"]
    (tmp_path / "a").write_text("b")
    assert content_of(tmp_path)["a"] != found["a"]


@pytest.mark.parametrize("name", ["/proc/kcore", "../a", "b/../../a", ".."])
def test_a_record_names_files_of_its_folder_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="which is not in it"):
        check_files(tmp_path, {"files": {name: "0"}}, ["a"])
