"""What is compared: equal images, sizes, epochs and threads; the rest is the default of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.peers.commands import Command, MissingPeerError, Row
from benchmarks.peers.others import Anomalib, Timm, Ultralytics
from benchmarks.peers.ours import FLOAT32, Ours, script


@dataclass(frozen=True)
class Sides:
    """Those who are compared."""

    ours: Ours
    anomalib: Anomalib
    ultralytics: Ultralytics
    timm: Timm


def train(sides: Sides) -> Iterator[Row]:
    """Classifiers, from the command to the trained model."""
    ours = sides.ours
    yield _row(
        f"train ResNet18, {ours.epochs} epochs",
        {
            "ours, first run": ours.classifier("train_cold", cold=True),
            "ours, images cached": ours.classifier("train"),
            "ours, images cached, float32": ours.classifier("train_float32", FLOAT32),
        },
        {
            "Ultralytics": sides.ultralytics.train,
            Timm.name: sides.timm.train,
        },
    )


def patchcore(sides: Sides) -> Iterator[Row]:
    """PatchCore, from the command to its test."""
    ours = sides.ours
    yield _row(
        "fit and test PatchCore",
        {
            "ours, first run": ours.patchcore("patchcore_cold", cold=True),
            "ours, images cached": ours.patchcore("patchcore"),
        },
        {"anomalib": sides.anomalib.patchcore},
    )


def draem(sides: Sides) -> Iterator[Row]:
    """Two networks for one purpose: seconds of an image in an epoch."""
    yield _row(
        "train an autoencoder (ours) or DRAEM (anomalib), an image",
        {"ours": sides.ours.autoencoder(), "ours, float32": sides.ours.autoencoder(FLOAT32)},
        {"anomalib": sides.anomalib.draem},
    )


def predict(sides: Sides) -> Iterator[Row]:
    """A folder, from the command to a table and pictures."""
    ours = sides.ours
    title = f"predict {sum(1 for _ in ours.images.input.iterdir())} images"
    trained = ours.classifier("train")
    yield _row(
        f"{title}, ResNet18",
        {
            "ours": ours.predict("predict", trained),
            "ours, explain=none": ours.predict("predict_plain", trained, "explain=none"),
        },
        {"Ultralytics": sides.ultralytics.predict},
    )
    yield _row(
        f"{title}, PatchCore",
        {"ours": ours.predict("predict_patchcore", ours.patchcore("patchcore"))},
        {"anomalib": sides.anomalib.predict},
    )


def latency(sides: Sides) -> Iterator[Row]:
    """One image after the other in OpenVINO, from its file to its prediction."""
    ours = sides.ours
    title = "OpenVINO, an image from file to prediction"
    yield _row(
        f"{title}, ResNet18",
        {"ours": ours.latency("openvino", ours.classifier("train"))},
        {"Ultralytics": sides.ultralytics.latency},
    )
    yield _row(
        f"{title}, PatchCore",
        {"ours": ours.latency("patchcore_openvino", ours.patchcore("patchcore"))},
        {"anomalib": sides.anomalib.latency},
    )


def help_and_mistakes(sides: Sides) -> Iterator[Row]:
    """Commands that do no work."""
    yield _row(
        "--help",
        {"ours": Command(script("train.py", "--help"))},
        {
            "anomalib": lambda: sides.anomalib.command("--help"),
            "Ultralytics": lambda: sides.ultralytics.command("--help"),
            Timm.name: lambda: sides.timm.command("--help"),
        },
    )
    of_anomalib = ["train", "--model=Patchcore", "--data=Folder", "--trainer.max_epoch=3"]
    yield _row(
        "mistyped option",
        {"ours": Command(script("train.py", "task.epoch=3"), statuses=(2,))},
        {
            "anomalib": lambda: sides.anomalib.command(*of_anomalib, status=2),
            "Ultralytics": lambda: sides.ultralytics.command("train", "epoch=3", status=1),
            Timm.name: lambda: sides.timm.command("--epoch=3", status=2),
        },
    )


ROWS: dict[str, Callable[[Sides], Iterator[Row]]] = {
    "train": train,
    "patchcore": patchcore,
    "draem": draem,
    "predict": predict,
    "latency": latency,
    "help": help_and_mistakes,
}


def _row(
    title: str, ours: Mapping[str, Command], peers: Mapping[str, Callable[[], Command]]
) -> Row:
    """A row with the peers that can be run."""
    found, missing = {}, {}
    for name, build in peers.items():
        try:
            found[name] = build()
        except MissingPeerError as error:
            missing[name] = str(error)
    return Row(title, ours, found, missing)
