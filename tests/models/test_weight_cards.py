"""Cards of weights: what is read back, what is refused, and what a card changes for a training."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_cards import card_of, save_with_card

from capsule_inspection.models import weights
from capsule_inspection.models.autoencoder import build_autoencoder
from capsule_inspection.models.base import BuiltNetwork, Network
from capsule_inspection.models.classifier import build_custom_resnet, build_timm
from capsule_inspection.models.published import PublishedWeights
from capsule_inspection.models.weight_cards import card_path, check_card, read_card
from capsule_inspection.types import DataIndex, ImageRecord, Normalisation, WeightsError
from capsule_inspection.workflows.building import refuse_seen_images

pytestmark = pytest.mark.usefixtures("offline")


def build(choice: str = "none") -> BuiltNetwork:
    return build_custom_resnet(weights=choice, depths=[1, 1], width=8, num_classes=3)


def build_test_resnet(choice: str = "none", *, tag: str = "") -> BuiltNetwork:
    return build_timm(name=f"test_resnet{tag}", num_classes=3, weights=choice)


@pytest.fixture
def network() -> Network:
    return build().network


@pytest.fixture
def path(tmp_path: Path, network: Network) -> Path:
    """Weights with a card that is right."""
    return save_with_card(network, tmp_path / "w.safetensors")


def change(path: Path, **fields: Any) -> None:
    """Change what the card says; None takes a field out."""
    content = json.loads(card_path(path).read_text(encoding="utf-8")) | fields
    kept = {key: value for key, value in content.items() if value is not None}
    card_path(path).write_text(json.dumps(kept), encoding="utf-8")


def test_what_is_written_is_read_again_and_unknown_fields_are_passed_over(
    path: Path, network: Network, tmp_path: Path
) -> None:
    assert read_card(path) == card_of(network, path)
    change(path, mood="good")
    assert read_card(path) == card_of(network, path)
    (tmp_path / "best.json").write_text("[]", encoding="utf-8")
    assert read_card(tmp_path / "best.ckpt") is None  # of another kind of file it is no card


def test_the_source_of_weights_is_what_their_card_says(path: Path) -> None:
    built = build(str(path))
    assert (built.weights.source, built.weights.path) == ("painted", str(path))
    change(path, source="file")
    assert build(str(path)).weights.source == "file"
    card_path(path).unlink()
    assert read_card(path) is None
    built = build(str(path))
    assert (built.weights.source, built.weights.seen) == ("file", frozenset())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"format_version": 1,', r"w\.json: expected the card.*found no JSON.*Copy weights and"),
        (b"\xff\xfe", r"w\.json: expected the card.*found no JSON"),
        (b"", r"w\.json: expected the card.*found no JSON"),
        (b"[1, 2]", r"w\.json: expected the card.*another kind \(list\)"),
        (b"{}", r"w\.json: expected a card with format_version 1, found None"),
        (b'{"format_version": "1"}', r"format_version 1, found 1\. Copy"),
        (b'{"format_version": 2}', r"w\.json: this card was made by a newer version.*Update"),
    ],
    ids=["cut short", "no text", "empty", "list", "no version", "text", "newer"],
)
def test_what_is_no_card_of_this_version_is_refused(
    path: Path, content: bytes, expected: str
) -> None:
    card_path(path).write_bytes(content)
    with pytest.raises(WeightsError, match=expected):
        build(str(path))


def test_a_card_that_lacks_a_field_is_refused_by_its_name(path: Path) -> None:
    whole = card_path(path).read_bytes()
    for field in (
        "name", "source", "sha256", "classes", "image_size", "normalisation", "model", "data",
        "seen_sha256", "command", "training", "figures", "licence", "made", "versions",
    ):  # fmt: skip
        card_path(path).write_bytes(whole)
        change(path, **{field: None})
        expected = rf"w\.json: the card of w\.safetensors has no '{field}'"
        with pytest.raises(WeightsError, match=expected):
            read_card(path)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("source", "imagenet", "painted or file, found 'imagenet'"),
        ("classes", [1], "a list of names"),
        ("classes", "good", "a list of names"),
        ("image_size", [32], r"\[height, width\]"),
        ("image_size", [32, 9.5], r"\[height, width\]"),
        ("normalisation", {"mean": [1, 2, 3]}, "three numbers"),
        ("normalisation", {"mean": [1, 2, 3], "std": [1, 2, "3"]}, "three numbers"),
        ("seen_sha256", {"a": 1}, "a list of SHA-256"),
        ("figures", {"test/accuracy": {"value": 1.0}}, "value, low, high and n"),
        ("figures", {"test/accuracy": 1.0}, "value, low, high and n"),
        ("training", 3, "what the training took"),
    ],
)
def test_a_field_of_another_kind_is_refused_with_what_it_must_be(
    path: Path, field: str, value: object, expected: str
) -> None:
    change(path, **{field: value})
    with pytest.raises(WeightsError, match=rf"w\.json: '{field}' must be .*{expected}"):
        read_card(path)


OTHERS: dict[str, tuple[dict[str, str], str]] = {
    "resnet18": (
        {"_target_": "a.build_timm", "name": "resnet18.a1"},
        r"model=timm model\.name=resnet18\.a1",
    ),
    "unet_resnet18": (
        {"architecture": "unet", "encoder": "resnet18"},
        r"model=unet model\.architecture=unet model\.encoder=resnet18",
    ),
    "autoencoder": ({"_target_": "a.build_autoencoder"}, r"model=autoencoder\)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_weights_of_another_network_are_refused_with_the_model_to_choose(
    path: Path, name: str
) -> None:
    model, remedy = OTHERS[name]
    change(path, name=name, model=model)
    other = build().network
    before = {key: value.clone() for key, value in other.state_dict().items()}
    expected = rf"of {name}, as their card says; expected those of custom_resnet\. .*{remedy}"
    with pytest.raises(WeightsError, match=expected):
        weights.load_weights(other, choice=str(path), published=PublishedWeights("custom_resnet"))
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_a_card_of_other_weights_or_another_normalisation_is_refused(
    path: Path, network: Network
) -> None:
    card, own = read_card(path), network.normalisation
    for part in ("mean", "std"):
        change(path, normalisation={"mean": own.mean, "std": own.std, part: [0.5, 0.5, 0.5]})
        expected = rf"{part} \[0\.5, 0\.5, 0\.5\].*this network's have mean \[0\.485.*std \[0\.229"
        with pytest.raises(WeightsError, match=expected):
            build(str(path))
    near = Normalisation((own.mean[0] + 1e-8, own.mean[1], own.mean[2]), own.std)
    check_card(card, path=path, sha256=card.sha256, accepted={"custom_resnet": near})
    save_file({**network.state_dict(), "head.bias": network.state_dict()["head.bias"] + 1}, path)
    with pytest.raises(WeightsError, match=r"w\.safetensors.*w\.json do not belong together.*both"):
        build(str(path))


def test_images_that_card_or_file_say_were_seen_must_not_judge(
    path: Path, network: Network
) -> None:
    save_file(network.state_dict(), path, metadata={"seen_sha256": json.dumps(["cc"])})
    change(path, seen_sha256=["aa", "bb"], sha256=card_of(network, path).sha256)
    built = build(str(path))
    assert built.weights.seen == frozenset({"aa", "bb", "cc"})
    for stage in ("val", "test", "calibration"):
        row = ImageRecord("poke/1.png", 1, None, "bb", 9, 9, 9, 9, "", stage)
        with pytest.raises(WeightsError, match=r"trained on 1 images.*poke/1\.png"):
            refuse_seen_images(built.weights, DataIndex(Path(), ("good", "poke"), (row,)))


def test_auto_is_random_with_a_warning_where_the_brought_card_is_of_other_weights(
    tmp_path: Path, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "brought").mkdir()
    path = save_with_card(network, tmp_path / "brought" / "custom_resnet.safetensors")
    assert build("auto").weights.source == "painted"
    change(path, sha256="00")
    assert build("auto").weights == weights.RANDOM
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "do not belong together" in record.getMessage()


def test_weights_in_the_users_folder_whose_card_says_synthetic_are_not_called_imagenet(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights" / "test_resnet.safetensors"
    path.parent.mkdir()
    save_with_card(build_test_resnet().network, path, name="test_resnet")
    assert build_test_resnet("auto").weights.source == "painted"
    # A tag in the model's name is no other network.
    assert build_test_resnet(str(path), tag=".r160_in1k").weights.source == "painted"
    with pytest.raises(WeightsError, match=r"model\.weights=imagenet.*painted.*model\.weights="):
        build_test_resnet("imagenet")


def test_an_autoencoder_heeds_cards_too(tmp_path: Path) -> None:
    def make(choice: str) -> BuiltNetwork:
        return build_autoencoder(
            name="autoencoder", weights=choice, image_size=[32, 32], window=None, depth=3, width=4,
            corruption="painted", bottleneck=8, skips="auto", head="auto", head_width=4,
        )  # fmt: skip

    path = save_with_card(make("none").network, tmp_path / "w.safetensors", name="autoencoder")
    assert make(str(path)).weights.source == "painted"
    change(path, name="unet_autoencoder")
    with pytest.raises(WeightsError, match="of unet_autoencoder, as their card says"):
        make(str(path))
