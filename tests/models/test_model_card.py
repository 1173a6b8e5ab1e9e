"""Model cards: what is read back, what is refused, and their effect on a training."""

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
from capsule_inspection.models.base import BuiltModel, Model
from capsule_inspection.models.factory import build_autoencoder, build_custom_resnet, build_timm
from capsule_inspection.models.hub import HubWeights
from capsule_inspection.models.model_card import card_path, check_card, read_card
from capsule_inspection.models.state_dicts import load_pretrained
from capsule_inspection.types import DataIndex, Normalisation, Sample, WeightsError
from capsule_inspection.workflows.factory import refuse_training_images

pytestmark = pytest.mark.usefixtures("offline")


def build(choice: str = "none") -> BuiltModel:
    return build_custom_resnet(weights=choice, depths=[1, 1], width=8, num_classes=3)


def build_test_resnet(choice: str = "none", *, tag: str = "") -> BuiltModel:
    return build_timm(name=f"test_resnet{tag}", num_classes=3, weights=choice)


@pytest.fixture
def network() -> Model:
    return build().model


@pytest.fixture
def path(tmp_path: Path, network: Model) -> Path:
    """Weights with a card that is right."""
    return save_with_card(network, tmp_path / "w.safetensors")


def change(path: Path, **fields: Any) -> None:
    """Change what the card says; None takes a field out."""
    content = json.loads(card_path(path).read_text(encoding="utf-8")) | fields
    kept = {key: value for key, value in content.items() if value is not None}
    card_path(path).write_text(json.dumps(kept), encoding="utf-8")


def test_a_card_survives_writing_and_unknown_fields_are_ignored(
    path: Path, network: Model, tmp_path: Path
) -> None:
    assert read_card(path) == card_of(network, path)
    change(path, mood="good")
    assert read_card(path) == card_of(network, path)
    (tmp_path / "best.json").write_text("[]", encoding="utf-8")
    assert read_card(tmp_path / "best.ckpt") is None  # of another kind of file it is no card


def test_the_source_of_weights_is_what_their_card_says(path: Path) -> None:
    built = build(str(path))
    assert (built.weights.source, built.weights.path) == ("synthetic", str(path))
    change(path, source="file")
    assert build(str(path)).weights.source == "file"
    card_path(path).unlink()
    assert read_card(path) is None
    built = build(str(path))
    assert (built.weights.source, built.weights.training_hashes) == ("file", frozenset())


@pytest.mark.parametrize(
    "content", [b'{"name": ', b"\xff\xfe", b"", b"[1, 2]"], ids=["cut", "bytes", "empty", "list"]
)
def test_a_file_that_is_no_card_is_refused(path: Path, content: bytes) -> None:
    card_path(path).write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.json: expected the card of w\.safetensors as JSON"):
        build(str(path))


def test_a_card_that_lacks_a_field_is_refused_by_its_name(path: Path) -> None:
    whole = card_path(path).read_bytes()
    for field in (
        "name", "source", "sha256", "classes", "image_size", "normalisation", "model", "data",
        "training_hashes", "selection_hashes", "command", "training", "metrics", "licence",
        "created", "versions",
    ):  # fmt: skip
        card_path(path).write_bytes(whole)
        change(path, **{field: None})
        with pytest.raises(WeightsError, match=rf"w\.json: .*no field '{field}'.*Copy weights"):
            read_card(path)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("source", "imagenet", "'imagenet' is not synthetic or imagenet_synthetic or file"),
        ("classes", [1], "classes: expected "),
        ("classes", "good", "classes: expected "),
        ("training_hashes", {"a": 1}, "training_hashes: expected "),
        ("name", ["resnet18"], "name: expected str"),
        ("sha256", 5, "sha256: expected str, found 5"),
        ("model", 5, "model: expected .*Mapping"),
        (
            "normalisation",
            {"mean": [1, 2, 3], "std": [1, 2, float("nan")]},
            "std: expected",
        ),
        ("image_size", [32], "image_size: expected tuple"),
        ("normalisation", {"mean": [1, 2, 3]}, "argument: 'std'"),
        ("normalisation", {"mean": [1, 2, 3], "std": [1, 2]}, "std: expected"),
        ("normalisation", {"mean": [1, 2, 3], "std": [1, 2, "x"]}, "std: expected float"),
    ],
)
def test_a_field_of_another_type_is_refused(
    path: Path, field: str, value: object, expected: str
) -> None:
    change(path, **{field: value})
    with pytest.raises(WeightsError, match=rf"w\.json: .*{expected}"):
        read_card(path)


OTHERS: dict[str, tuple[dict[str, str], str]] = {
    "resnet18": (
        {"builder": "timm", "name": "resnet18.a1"},
        r"model=timm model\.name=resnet18\.a1",
    ),
    "unet_resnet18": (
        {"architecture": "unet", "encoder": "resnet18"},
        r"model=unet model\.architecture=unet model\.encoder=resnet18",
    ),
    "autoencoder": ({"builder": "autoencoder"}, r"model=autoencoder\)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_weights_of_another_model_are_refused_with_its_arguments(path: Path, name: str) -> None:
    model, remedy = OTHERS[name]
    change(path, name=name, model=model)
    other = build().model
    before = {key: value.clone() for key, value in other.state_dict().items()}
    expected = rf"of {name}, as their card says; expected those of custom_resnet\. .*{remedy}"
    with pytest.raises(WeightsError, match=expected):
        weights.load_weights(
            other, choice=str(path), hub=HubWeights("custom_resnet"), load_state=load_pretrained
        )
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


def test_a_card_of_other_weights_or_another_normalisation_is_refused(
    path: Path, network: Model
) -> None:
    card, own = read_card(path), network.normalisation
    for part in ("mean", "std"):
        change(path, normalisation={"mean": own.mean, "std": own.std, part: [0.5, 0.5, 0.5]})
        expected = rf"{part} \[0\.5, 0\.5, 0\.5\].*this model expects mean \[0\.485.*std \[0\.229"
        with pytest.raises(WeightsError, match=expected):
            build(str(path))
    near = Normalisation((own.mean[0] + 1e-8, own.mean[1], own.mean[2]), own.std)
    check_card(card, path=path, sha256=card.sha256, accepted={"custom_resnet": near})
    save_file({**network.state_dict(), "head.bias": network.state_dict()["head.bias"] + 1}, path)
    with pytest.raises(WeightsError, match=r"w\.safetensors.*w\.json do not belong together.*both"):
        build(str(path))


def image_in(split: str) -> DataIndex:
    """A data set of one image, whose hash is `bb`."""
    sample = Sample("poke/1.png", 1, None, "bb", 9, 9, 9, 9, "", split)
    return DataIndex(Path(), ("good", "poke"), (sample,))


def test_images_that_weights_were_trained_on_must_not_measure_them(
    path: Path, network: Model
) -> None:
    save_file(network.state_dict(), path, metadata={"training_hashes": json.dumps(["cc"])})
    change(path, training_hashes=["aa", "bb"], sha256=card_of(network, path).sha256)
    built = build(str(path))
    assert built.weights.training_hashes == frozenset({"aa", "bb", "cc"})
    refuse_training_images(built.weights, image_in("train"))
    for split in ("val", "test", "calibration"):
        with pytest.raises(WeightsError, match=r"trained on 1 images.*poke/1\.png"):
            refuse_training_images(built.weights, image_in(split))


def test_images_that_selected_the_epoch_may_select_again_but_not_test(path: Path) -> None:
    change(path, training_hashes=["aa"], selection_hashes=["bb"])
    built = build(str(path))
    for split in ("train", "val"):
        refuse_training_images(built.weights, image_in(split))
    for split in ("test", "calibration"):
        with pytest.raises(WeightsError, match=r"selected on 1 images.*poke/1\.png"):
            refuse_training_images(built.weights, image_in(split))


def test_auto_is_random_with_a_warning_where_the_bundled_card_is_of_other_weights(
    tmp_path: Path, network: Model, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bundled").mkdir()
    path = save_with_card(network, tmp_path / "bundled" / "custom_resnet.safetensors")
    assert build("auto").weights.source == "synthetic"
    change(path, sha256="00")
    assert build("auto").weights == weights.RANDOM
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "do not belong together" in record.getMessage()


def test_weights_in_the_users_folder_whose_card_says_synthetic_are_not_called_imagenet(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights" / "test_resnet.safetensors"
    path.parent.mkdir()
    save_with_card(build_test_resnet().model, path, name="test_resnet")
    assert build_test_resnet("auto").weights.source == "synthetic"
    # A tag in the model's name is no other network.
    assert build_test_resnet(str(path), tag=".r160_in1k").weights.source == "synthetic"
    with pytest.raises(WeightsError, match=r"model\.weights=imagenet.*synthetic.*model\.weights="):
        build_test_resnet("imagenet")


def test_cards_are_checked_for_autoencoders_too(tmp_path: Path) -> None:
    def make(choice: str) -> BuiltModel:
        return build_autoencoder(
            name="autoencoder", weights=choice, image_size=[32, 32], crop_size=None, depth=3,
            width=4, corruption="synthetic_defects", bottleneck=8, skips="auto", head="auto",
            head_width=4,
        )  # fmt: skip

    path = save_with_card(make("none").model, tmp_path / "w.safetensors", name="autoencoder")
    assert make(str(path)).weights.source == "synthetic"
    change(path, name="unet_autoencoder")
    with pytest.raises(WeightsError, match="of unet_autoencoder, as their card says"):
        make(str(path))
