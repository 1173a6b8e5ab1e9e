"""The commands of the peers, without downloads and telemetry, with as many threads as cores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.commands import (
    ANOMALY_BATCH,
    ANOMALY_PX,
    CLASSIFIER_BATCH,
    CLASSIFIER_PX,
    EPOCHS_OF_AUTOENCODERS,
    Command,
    MissingPeerError,
)
from benchmarks.peers.environments import prepare_environment
from benchmarks.peers.images import Images
from benchmarks.peers.ours import LATENCY_WORKER
from capsule_inspection.workflows.hardware import available_cores

WORKER = Path(__file__).with_name("anomalib_worker.py")
RESNET18 = """\
# yolo11-cls-resnet18.yaml of Ultralytics, without the download of weights
nc: 1000
backbone:
  - [-1, 1, TorchVision, [512, resnet18, null, True, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


@dataclass(frozen=True)
class Peer:
    """Builds commands that write below `folder`, of the environments in `environments`.

    `checkouts` has timm's repository, since no package contains its training script.
    """

    images: Images
    folder: Path
    environments: Path
    checkouts: Path | None
    epochs: int
    bank: int

    def _run(self, environment: str, program: str, *arguments: str) -> tuple[str, ...]:
        found = prepare_environment(environment, self.environments) / program
        return (str(found), *arguments)

    @property
    def _variables(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(available_cores())}


class Anomalib(Peer):
    """anomalib, by its Python interface; `--help` by its command."""

    def patchcore(self) -> Command:
        """Fit and test PatchCore, with as many patches in the bank as ours."""
        return self._work("patchcore", *self._data(), f"--bank={self.bank}")

    def draem(self) -> Command:
        """Train DRAEM; prints the seconds of an image."""
        epochs = f"--epochs={EPOCHS_OF_AUTOENCODERS}"
        textures = f"--textures={self.images.textures}"
        return self._work("draem", *self._data(), epochs, textures, prints_seconds=True)

    def predict(self) -> Command:
        """Predict the input folder."""
        needs, checkpoint = self._fitted()
        return self._work("predict", f"--input={self.images.input}", checkpoint, needs=needs)

    def latency(self) -> Command:
        """Latency of an image in OpenVINO."""
        needs, checkpoint = self._fitted()
        export = self._work("export", checkpoint, needs=needs)
        model = f"{export.output}/weights/openvino/model.xml"
        worker = (str(LATENCY_WORKER), "anomalib", model, str(self.images.input))
        return Command(
            self._run("anomalib", "python", *worker, str(available_cores())),
            needs=export,
            environment=self._variables,
            prints_seconds=True,
        )

    def command(self, *arguments: str, status: int = 0) -> Command:
        """The command line."""
        return Command(self._run("anomalib", "anomalib", *arguments), statuses=(status,))

    def _work(
        self, work: str, *options: str, needs: Command | None = None, prints_seconds: bool = False
    ) -> Command:
        output = self.folder / f"anomalib_{work}"
        size = ("--image-size", str(ANOMALY_PX), str(ANOMALY_PX))
        return Command(
            self._run(
                "anomalib", "python", str(WORKER), work, f"--output={output}", *size, *options
            ),
            output=output,
            needs=needs,
            environment=self._variables,
            prints_seconds=prints_seconds,
        )

    def _data(self) -> tuple[str, ...]:
        return (
            f"--data={self.images.one_class}",
            f"--batch-size={ANOMALY_BATCH}",
            f"--workers={available_cores()}",
        )

    def _fitted(self) -> tuple[Command, str]:
        fitted = self.patchcore()
        file = "Patchcore/images/v0/weights/lightning/model.ckpt"
        return fitted, f"--checkpoint={fitted.output}/{file}"


class Ultralytics(Peer):
    """Ultralytics, by its command. It takes one thread unless OMP_NUM_THREADS is set."""

    def train(self) -> Command:
        """Train its ResNet18."""
        network = self.folder / "resnet18-cls.yaml"
        network.write_text(RESNET18, encoding="utf-8")
        return self._work(
            "ultralytics_train",
            "train",
            f"model={network}",
            f"data={self.images.classes}",
            f"epochs={self.epochs}",
            f"batch={CLASSIFIER_BATCH}",
            f"workers={available_cores()}",
        )

    def predict(self) -> Command:
        """Predict the input folder."""
        needs, model = self._trained()
        source = f"source={self.images.input}"
        work = ("ultralytics_predict", "predict", model, source, "save_txt=True")
        return self._work(*work, needs=needs)

    def latency(self) -> Command:
        """Latency of an image in OpenVINO."""
        needs, model = self._trained()
        size = f"imgsz={CLASSIFIER_PX}"
        assert needs.output is not None
        output = needs.output / "weights" / "best_openvino_model"
        arguments = self._run("ultralytics", "yolo", "export", model, "format=openvino", size)
        export = Command(arguments, output=output, needs=needs, environment=self._variables)
        worker = (str(LATENCY_WORKER), "ultralytics", str(output), str(self.images.input))
        return Command(
            self._run("ultralytics", "python", *worker, str(available_cores())),
            needs=export,
            environment=self._variables,
            prints_seconds=True,
        )

    def command(self, *arguments: str, status: int = 0) -> Command:
        """The command line."""
        return Command(
            self._run("ultralytics", "yolo", *arguments),
            statuses=(status,),
            environment=self._variables,
        )

    def _work(self, name: str, mode: str, *arguments: str, needs: Command | None = None) -> Command:
        size = (f"imgsz={CLASSIFIER_PX}", "device=cpu")
        output = (f"project={self.folder}", f"name={name}")
        return Command(
            self._run("ultralytics", "yolo", "classify", mode, *arguments, *size, *output),
            output=self.folder / name,
            needs=needs,
            environment=self._variables,
        )

    def _trained(self) -> tuple[Command, str]:
        trained = self.train()
        return trained, f"model={trained.output}/weights/best.pt"

    @property
    def _variables(self) -> dict[str, str]:
        settings = self.environments / "ultralytics"
        return {
            **super()._variables,
            "YOLO_CONFIG_DIR": str(settings),
            "YOLO_OFFLINE": "true",
            "YOLO_AUTOINSTALL": "false",
        }


class Timm(Peer):
    """The training script in timm's repository."""

    name = "timm"

    def train(self) -> Command:
        """Train, and validate each epoch."""
        output = self.folder / self.name
        command = self.command(
            str(self.images.classes),
            "--train-split=train",
            "--val-split=val",
            "--model=resnet18",
            f"--num-classes={len(self.images.class_names)}",
            f"--img-size={CLASSIFIER_PX}",
            f"--batch-size={CLASSIFIER_BATCH}",
            f"--epochs={self.epochs}",
            "--warmup-epochs=0",
            "--lr=0.05",
            "--device=cpu",
            f"--workers={available_cores()}",
            f"--output={output}",
        )
        return Command(command.arguments, output=output, environment=self._variables)

    def command(self, *arguments: str, status: int = 0) -> Command:
        """Its `train.py`. Raises MissingPeerError without a checkout."""
        file = find_script(self.checkouts, self.name, "train.py")
        return Command(self._run(self.name, "python", file, *arguments), statuses=(status,))


def find_script(checkouts: Path | None, name: str, path: str) -> str:
    """A script of a checkout. Raises MissingPeerError where it is not there."""
    file = checkouts / name / path if checkouts else None
    if file is None or not file.is_file():
        raise MissingPeerError(
            f"{path} of {name} is in no package; set checkouts= to a folder with its repository "
            f"as {name}/"
        )
    return str(file)
