"""The commands of this project."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.commands import (
    ANOMALY_BATCH,
    ANOMALY_PX,
    CLASSIFIER_BATCH,
    CLASSIFIER_PX,
    EPOCHS_OF_AUTOENCODERS,
    Command,
)
from benchmarks.peers.images import Images
from benchmarks.sizes import REPOSITORY
from benchmarks.training import LABELS_ONLY
from capsule_inspection.workflows.hardware import available_cores

LATENCY_WORKER = Path(__file__).with_name("latency_worker.py")
FLOAT32 = "trainer.precision=32-true"


@dataclass(frozen=True)
class Ours:
    """Builds commands that write below `folder`."""

    images: Images
    folder: Path
    epochs: int
    bank: int

    def classifier(self, name: str, *settings: str, cold: bool = False) -> Command:
        """Training of ResNet18 on labels alone, as all peers; without a cache where `cold`."""
        return self._train(
            name,
            "model=resnet18",
            "model.weights=none",
            *LABELS_ONLY,
            "data=folder",
            "split=dataset",
            f"data.root={self.images.classes}",
            *self._data(CLASSIFIER_PX, CLASSIFIER_BATCH),
            f"task.epochs={self.epochs}",
            *settings,
            cold=cold,
        )

    def patchcore(self, name: str, *, cold: bool = False) -> Command:
        """Training and test of PatchCore."""
        return self._train(
            name,
            "model=patchcore",
            "model.encoder=tf_efficientnet_lite0",
            "model.weights=none",
            f"model.coreset_size={self.bank}",
            *self._one_class(),
            cold=cold,
        )

    def autoencoder(self, *settings: str) -> Command:
        """Training of the autoencoder with synthetic defects; prints the seconds of an image."""
        worker = ("-m", "benchmarks.peers.epoch_worker", str(EPOCHS_OF_AUTOENCODERS))
        images = ("task.repeats=1", "task.crop_size=null")
        return Command(
            (sys.executable, *worker, "model=autoencoder", *self._one_class(), *images, *settings),
            environment={"PYTHONPATH": str(REPOSITORY)},
            prints_seconds=True,
        )

    def predict(self, name: str, trained: Command, *settings: str) -> Command:
        """Prediction of the input folder."""
        output = self.folder / name
        arguments = (f"run={trained.output}", f"input={self.images.input}", f"output={output}")
        return Command(script("predict.py", *arguments, *settings), output=output, needs=trained)

    def latency(self, name: str, trained: Command) -> Command:
        """Latency of an image in OpenVINO."""
        output = self.folder / name
        arguments = (f"run={trained.output}", "format=openvino", f"output={output}")
        export = Command(script("export.py", *arguments), output=output, needs=trained)
        worker = (str(LATENCY_WORKER), "ours", str(output), str(self.images.input))
        return Command(
            (sys.executable, *worker, str(available_cores())), needs=export, prints_seconds=True
        )

    def _train(self, name: str, *settings: str, cold: bool) -> Command:
        output = self.folder / name
        arguments = script("train.py", *settings, f"hydra.run.dir={output}")
        return Command(arguments, output=output, cold=self._cache if cold else None)

    def _one_class(self) -> tuple[str, ...]:
        data = ("data=mvtec", f"data.root={self.images.one_class}")
        return (*data, *self._data(ANOMALY_PX, ANOMALY_BATCH))

    def _data(self, size_px: int, batch_size: int) -> tuple[str, ...]:
        return (
            f"task.image_size=[{size_px},{size_px}]",
            f"task.batch_size={batch_size}",
            "data.roi=none",
            f"data.cache_folder={self._cache}",
        )

    @property
    def _cache(self) -> Path:
        return self.folder / "cache"


def script(name: str, *arguments: str) -> tuple[str, ...]:
    """A script of this project, with this interpreter."""
    return (sys.executable, str(REPOSITORY / name), *arguments)
