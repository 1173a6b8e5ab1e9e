"""Cards of weights: what is read back, what is refused, and what a card changes for a training."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from small_cards import card_of, save_with_card

from capsule_inspection.contracts import DataIndex, ImageRecord, Normalisation, WeightsError
from capsule_inspection.networks import weights
from capsule_inspection.networks.autoencoder import build_autoencoder
from capsule_inspection.networks.base import BuiltNetwork, Network
from capsule_inspection.networks.classifier import build_custom_resnet, build_timm
from capsule_inspection.networks.weight_cards import card_path, check_card, read_card
from capsule_inspection.runs.building import refuse_seen_images


@pytest.fixture(autouse=True)
def offline_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("CAPSULE_WEIGHTS", raising=False)
    monkeypatch.setattr(weights, "BROUGHT", tmp_path / "brought")


def build(choice: str = "none", **settings: Any) -> BuiltNetwork:
    given = {"depths": [1, 1], "width": 8, "num_classes": 3, **settings}
    return build_custom_resnet(weights=choice, **given)


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


def test_what_is_written_is_read_again(path: Path, network: Network) -> None:
    assert read_card(path) == card_of(network, path)


def test_fields_that_are_not_known_are_passed_over(path: Path, network: Network) -> None:
    change(path, mood="good")
    assert read_card(path) == card_of(network, path)


def test_a_file_without_a_card_has_none(path: Path) -> None:
    card_path(path).unlink()
    assert read_card(path) is None
    built = build(str(path))
    assert (built.weights.source, built.weights.seen) == ("file", frozenset())


def test_a_json_beside_a_file_of_another_kind_is_no_card(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text("[]", encoding="utf-8")
    assert read_card(tmp_path / "best.ckpt") is None


def test_weights_whose_card_says_painted_are_recorded_as_such(path: Path) -> None:
    built = build(str(path))
    assert built.weights.source == "painted"
    assert built.weights.path == str(path)
    change(path, source="file")
    assert build(str(path)).weights.source == "file"


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


@pytest.mark.parametrize(
    "field",
    [
        "name", "source", "sha256", "classes", "image_size", "normalisation", "model", "data",
        "seen_sha256", "command", "training", "figures", "licence", "made", "versions",
    ],
)  # fmt: skip
def test_a_card_that_lacks_a_field_is_refused_by_its_name(path: Path, field: str) -> None:
    change(path, **{field: None})
    with pytest.raises(
        WeightsError, match=rf"w\.json: the card of w\.safetensors has no '{field}'"
    ):
        build(str(path))


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
        build(str(path))


def test_a_card_of_other_weights_is_refused(path: Path, network: Network) -> None:
    save_file({**network.state_dict(), "head.bias": network.state_dict()["head.bias"] + 1}, path)
    with pytest.raises(WeightsError, match=r"w\.safetensors.*w\.json do not belong together.*both"):
        build(str(path))


@pytest.mark.parametrize(
    ("name", "model", "remedy"),
    [
        ("resnet18", {"_target_": "a.build_timm", "name": "resnet18.a1"},
         r"model=timm model\.name=resnet18\.a1"),
        ("unet_resnet18", {"architecture": "unet", "encoder": "resnet18"},
         r"model=unet model\.architecture=unet model\.encoder=resnet18"),
        ("autoencoder", {"_target_": "a.build_autoencoder"}, r"model=autoencoder\)"),
    ],
)  # fmt: skip
def test_weights_of_another_network_are_refused_with_the_model_to_choose(
    path: Path, name: str, model: dict[str, str], remedy: str
) -> None:
    change(path, name=name, model=model)
    expected = rf"of {name}, as their card says; expected those of custom_resnet\. .*{remedy}"
    with pytest.raises(WeightsError, match=expected):
        build(str(path))


@pytest.mark.parametrize("part", ["mean", "std"])
def test_weights_for_another_normalisation_are_refused_with_both(
    path: Path, network: Network, part: str
) -> None:
    own = {"mean": [*network.normalisation.mean], "std": [*network.normalisation.std]}
    change(path, normalisation=own | {part: [0.5, 0.5, 0.5]})
    expected = rf"{part} \[0\.5, 0\.5, 0\.5\].*this network's have mean \[0\.485.*std \[0\.229"
    with pytest.raises(WeightsError, match=expected):
        build(str(path))


def test_a_normalisation_that_differs_by_rounding_is_the_same(path: Path, network: Network) -> None:
    card = read_card(path)
    assert card is not None
    mean, std = network.normalisation.mean, network.normalisation.std
    near = Normalisation((mean[0] + 1e-8, mean[1], mean[2]), std)
    check_card(card, path=path, sha256=card.sha256, accepted={"custom_resnet": near})


def test_nothing_is_loaded_where_the_card_is_refused(path: Path) -> None:
    import torch

    from capsule_inspection.networks.published import PublishedWeights

    change(path, name="resnet18")
    other = build().network
    before = {key: value.clone() for key, value in other.state_dict().items()}
    published = PublishedWeights(name="custom_resnet")
    with pytest.raises(WeightsError):
        weights.load_weights(other, choice=str(path), published=published)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("stage", ["val", "test", "calibration"])
def test_weights_whose_card_names_an_image_that_judges_are_refused(path: Path, stage: str) -> None:
    change(path, seen_sha256=["aa", "bb"])
    built = build(str(path))
    assert built.weights.seen == frozenset({"aa", "bb"})
    row = ImageRecord("poke/1.png", 1, None, "bb", 9, 9, 9, 9, "", stage)
    index = DataIndex(Path(), ("good", "poke"), (row,))
    with pytest.raises(WeightsError, match=r"trained on 1 images.*poke/1\.png"):
        refuse_seen_images(built.weights, index)


def test_what_card_and_file_say_of_images_seen_adds_up(path: Path, network: Network) -> None:
    save_file(network.state_dict(), path, metadata={"seen_sha256": json.dumps(["cc"])})
    change(path, seen_sha256=["aa"], sha256=card_of(network, path).sha256)
    assert build(str(path)).weights.seen == frozenset({"aa", "cc"})


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


def test_weights_in_the_users_folder_whose_card_says_painted_are_not_called_imagenet(
    tmp_path: Path,
) -> None:
    (tmp_path / "weights").mkdir()
    network = build_timm(name="test_resnet", num_classes=3, weights="none").network
    path = tmp_path / "weights" / "test_resnet.safetensors"
    save_with_card(network, path, name="test_resnet")
    assert build_timm(name="test_resnet", num_classes=3, weights="auto").weights.source == "painted"
    with pytest.raises(WeightsError, match=r"model\.weights=imagenet.*painted.*model\.weights="):
        build_timm(name="test_resnet", num_classes=3, weights="imagenet")


def test_a_tag_in_the_models_name_is_no_other_network(tmp_path: Path) -> None:
    network = build_timm(name="test_resnet", num_classes=3, weights="none").network
    path = save_with_card(network, tmp_path / "w.safetensors", name="test_resnet")
    built = build_timm(name="test_resnet.r160_in1k", num_classes=3, weights=str(path))
    assert built.weights.source == "painted"


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
