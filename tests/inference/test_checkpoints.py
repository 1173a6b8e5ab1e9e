"""Checkpoints of runs: what is no such file is refused by name, and nothing in it is executed."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network
from capsule_inspection.models.base import Model
from capsule_inspection.types import RunError


class Network(nn.Sequential, Model):
    """Layers in a row, with the interface of a model."""

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [[*self.parameters()]]


def make_network(*, width: int = 3) -> Network:
    return Network(nn.Linear(2, width), nn.BatchNorm1d(width))


def save(path: Path, network: nn.Module) -> Path:
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    checkpoint = {"state_dict": state, "inspection": {}, "epoch": 1}
    torch.save({**checkpoint, "training_hashes": [], "selection_hashes": []}, path)
    return path


def test_weights_come_back_equal_without_what_belongs_to_the_task(tmp_path: Path) -> None:
    network, restored = make_network(), make_network()
    path = save(tmp_path / "best.ckpt", network)
    checkpoint = read_checkpoint(path)
    checkpoint["state_dict"]["loss.class_weights"] = torch.ones(3)
    restore_network(restored, checkpoint, path=path)
    for key, value in network.state_dict().items():
        assert torch.equal(restored.state_dict()[key], value)


def test_a_missing_file_and_one_cut_short_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(RunError, match=r"last\.ckpt: there is no such checkpoint"):
        read_checkpoint(path)
    whole = save(path, make_network(width=300)).read_bytes()
    for share in (0.0, 0.01, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(RunError, match=r"last\.ckpt: .*cut short") as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"these are words", b"\x80\x04.", b"\x80\x05K\x01.", b"PK\3\4"]
)
def test_another_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"last\.ckpt: "):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [[1, 2], torch.ones(2), {"state_dict": {}}, {"inspection": {"classes": ["good"]}}]
)
def test_what_no_run_wrote_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="expected a checkpoint of a run"):
        read_checkpoint(tmp_path / "last.ckpt")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("as_archive", [True, False])
def test_code_is_refused_and_not_executed(tmp_path: Path, as_archive: bool) -> None:
    path, trap = tmp_path / "last.ckpt", tmp_path / "executed"
    content = {"state_dict": {}, "inspection": Trap(trap), "epoch": 0}
    if as_archive:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(RunError, match="holds more than tensors and plain values"):
        read_checkpoint(path)
    assert not trap.exists()


def test_missing_surplus_and_other_layers_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    network = make_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for other, message in (
        (make_network(width=4), r"another model, it differs in 0\.bias, 0\.weight"),
        (nn.Sequential(nn.Linear(2, 3)), r"1\.bias, 1\.num_batches_tracked"),
        (nn.Sequential(*make_network(), nn.Linear(3, 3)), r"2\.bias, 2\.weight"),
    ):
        path = save(tmp_path / "best.ckpt", other)
        with pytest.raises(RunError, match=message):
            restore_network(network, read_checkpoint(path), path=path)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    whole = save(path, make_network(width=50)).read_bytes()
    expected = str(read_checkpoint(path))
    found = 0
    for position in range(0, len(whole), len(whole) // 150):
        changed = bytes([whole[position] ^ 16])
        path.write_bytes(whole[:position] + changed + whole[position + 1 :])
        try:
            assert str(read_checkpoint(path)) == expected  # the padding between members
        except RunError:
            found += 1
    assert found > 20


def test_nothing_expands_when_a_checkpoint_is_read(tmp_path: Path) -> None:
    path, bomb = save(tmp_path / "best.ckpt", make_network()), tmp_path / "last.ckpt"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as small:
        for member in whole.infolist():
            small.writestr(member.filename, whole.read(member))
    with pytest.raises(RunError, match=r"last\.ckpt: .*compressed"):
        read_checkpoint(bomb)


def test_a_pickle_without_checksums_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    content = torch.load(save(path, make_network()), weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RunError, match="no archive"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"state_dict": {"network.0.weight": [1, 2]}},
        {"state_dict": {3: torch.ones(2)}},
        {"inspection": [1]},
        {"inspection": {"fitted": "x"}},
        {"epoch": "3"},
        {"epoch": -1},
        {"training_hashes": [1]},
        {"selection_hashes": None},
    ],
)
def test_values_of_other_types_are_refused(tmp_path: Path, changed: dict) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(torch.load(save(path, make_network()), weights_only=True) | changed, path)
    with pytest.raises(RunError, match="expected a checkpoint of a run"):
        read_checkpoint(path)


def test_whole_numbers_do_not_stand_for_weights(tmp_path: Path) -> None:
    network = make_network()
    path = save(tmp_path / "best.ckpt", network)
    checkpoint = read_checkpoint(path)
    checkpoint["state_dict"]["network.0.bias"] = torch.ones(3, dtype=torch.int64)
    with pytest.raises(RunError, match=r"differs in 0\.bias\."):
        restore_network(network, checkpoint, path=path)
