"""Files of torch.save: damage, code and tensors that claim memory are refused."""

from __future__ import annotations

import collections
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from capsule_inspection.archives import DAMAGE
from capsule_inspection.models.torch_files import load_tensors

REFUSED = (pickle.UnpicklingError, *DAMAGE)


def save(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def rewrite(
    path: Path, change: Callable[[bytes], bytes] = bytes, *, method: int = zipfile.ZIP_STORED
) -> Path:
    """Write the archive again, with another pickle."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("is_archive", [True, False])
def test_content_is_that_which_was_saved_in_plain_dicts(tmp_path: Path, is_archive: bool) -> None:
    shared = torch.arange(6.0)
    state = collections.OrderedDict(a=shared[:4], b=torch.nn.Parameter(shared[2:]))
    content = {"state_dict": state, "names": ["x", ("y", 1, None, True)], "again": state}
    path = save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=is_archive)
    found = load_tensors(path)
    assert found["names"] == content["names"]
    assert type(found["state_dict"]) is dict
    assert found["again"] is found["state_dict"]
    assert all(torch.equal(found["state_dict"][name], state[name]) for name in state)


def test_every_flipped_byte_of_an_archives_tensors_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"weight": torch.full((64,), 7.0)})
    whole = path.read_bytes()
    first = whole.index(torch.full((64,), 7.0).numpy().tobytes())
    for place in range(first, first + 256, 17):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(zipfile.BadZipFile, match="CRC"):
            load_tensors(path)


@pytest.mark.parametrize(
    "call",
    [
        Calls(bytearray, 10**11),
        Calls(torch.FloatTensor, 10**11),
        Calls(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (4,), (1,), False),
        Calls(eval, "1"),
    ],
)
@pytest.mark.parametrize("is_archive", [True, False])
def test_a_pickle_that_calls_anything_else_is_refused_before_it_is_run(
    tmp_path: Path, call: Calls, is_archive: bool
) -> None:
    path = save(tmp_path / "a.pth", call, _use_new_zipfile_serialization=is_archive)
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL"):
        load_tensors(path)


def test_compressed_members_are_not_expanded(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"weight": torch.zeros(1_000_000)})
    assert rewrite(path, method=zipfile.ZIP_DEFLATED).stat().st_size < 100_000
    with pytest.raises(ValueError, match="compressed in an unexpected way"):
        load_tensors(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1000, 1000),
        torch.eye(3).to_sparse(),
        torch.zeros(4, device="meta"),
    ],
)
def test_tensors_that_are_not_what_their_bytes_hold_are_refused(
    tmp_path: Path, tensor: torch.Tensor
) -> None:
    with pytest.raises(REFUSED):
        load_tensors(save(tmp_path / "a.pth", {"weight": tensor}))


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_claimed_size_is_not_allocated(tmp_path: Path, is_archive: bool) -> None:
    content = {"weight": torch.zeros(1000)}
    path = save(tmp_path / "a.pth", content, _use_new_zipfile_serialization=is_archive)

    def claim(pickled: bytes) -> bytes:
        changed = re.sub(rb"M\xe8\x03", b"J\xff\xff\xff\x7f", pickled)  # 1000 becomes 2^31 - 1
        assert changed != pickled
        return changed

    if is_archive:
        rewrite(path, claim)
    else:
        path.write_bytes(claim(path.read_bytes()))
    with pytest.raises(REFUSED):
        load_tensors(path)


def test_a_pickle_replaces_no_methods_of_a_dict_that_is_read(tmp_path: Path) -> None:
    content = collections.OrderedDict(weight=torch.zeros(2))
    content.keys = content.get = 5  # type: ignore[method-assign, assignment]
    found = load_tensors(save(tmp_path / "a.pth", content))
    assert found.get("weight") is not None
    assert list(found.keys()) == ["weight"]


def test_content_that_holds_itself_many_times_is_read_once(tmp_path: Path) -> None:
    value: Any = {"a": 1}
    for _ in range(60):
        value = [value, value]
    assert load_tensors(save(tmp_path / "a.pth", value))[0] is not None


@pytest.mark.parametrize("name", ["DATA.PKL", "Data.pkl", "data.pkl.pkl"])
@pytest.mark.parametrize("is_instead", [True, False])
def test_pickles_that_pytorch_may_take_for_data_pkl_are_refused(
    tmp_path: Path, name: str, is_instead: bool
) -> None:
    path = save(tmp_path / "a.pth", {"weight": torch.zeros(2)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[f"a/{name}"] = members["a/data.pkl"]
    if is_instead:
        del members["a/data.pkl"]
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(ValueError, match=r"two members|expected one pickle"):
        load_tensors(path)


def test_a_codec_that_takes_any_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pickle.UnpicklingError, match="_codecs encode"):
        load_tensors(save(tmp_path / "a.pth", {"bytes": b"\xff"}))
