"""Commands of anomalib as in its documentation; for `benchmarks.peers`.

Run: python anomalib_worker.py {patchcore,draem,predict,export} --output FOLDER [options]
Runs in an environment with anomalib, and imports nothing of this project. Networks start from
random weights; all that is not an argument is anomalib's default.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

BACKBONE = "tf_efficientnet_lite0"
LAYERS = ("blocks.2", "blocks.4")
"""At strides 8 and 16, as ours."""


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["patchcore", "draem", "predict", "export"])
    parser.add_argument("--data", type=Path, help="a folder in the layout of MVTec AD")
    parser.add_argument("--input", type=Path, help="a folder of images to predict")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--textures", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--image-size", type=int, nargs=2)
    parser.add_argument("--bank", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--epochs", type=int)
    return parser.parse_args()


def main() -> None:
    """Do one piece of work."""
    options = parse()
    from anomalib.engine import Engine

    clock = EpochClock()
    limits = {"max_epochs": options.epochs} if options.epochs else {}
    engine = Engine(callbacks=[clock], default_root_dir=options.output, accelerator="cpu", **limits)
    model = build_draem(options) if options.work == "draem" else build_patchcore(options)
    if options.work == "predict":
        found = engine.predict(
            model, data_path=options.input, ckpt_path=options.checkpoint, return_predictions=True
        )
        write_table(found, options.output / "predictions.csv")
    elif options.work == "export":
        engine.export(
            model,
            "openvino",
            export_root=options.output,
            input_size=tuple(options.image_size),
            ckpt_path=options.checkpoint,
            # Of one image; by default two, since PatchCore cannot be exported for any number.
            onnx_kwargs={"dynamic_axes": None},
        )
    else:
        data = build_data(options)
        engine.fit(model, datamodule=data)
        if options.work == "patchcore":
            engine.test(model, datamodule=data)
        else:
            print(clock.seconds / clock.images)


class EpochClock(Callback):
    """Seconds of the training batches of the last epoch, and their images."""

    def on_train_epoch_start(self, trainer: object, pl_module: object) -> None:
        self._began = time.perf_counter()
        self.images = 0

    def on_train_batch_end(
        self, trainer: object, pl_module: object, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch.image)
        self.seconds = time.perf_counter() - self._began


def build_patchcore(options: argparse.Namespace) -> object:
    """PatchCore with as many patches in its bank as this project's, scored by the nearest one."""
    from anomalib.models import Patchcore

    size = tuple(options.image_size)
    ratio = 0.1
    if options.data:
        images = sum(1 for _ in (options.data / "train" / "good").iterdir())
        ratio = min(1.0, options.bank / (images * (size[0] // 8) * (size[1] // 8)))
    return Patchcore(
        backbone=BACKBONE,
        layers=LAYERS,
        pre_trained=False,
        coreset_sampling_ratio=ratio,
        num_neighbors=1,
        pre_processor=Patchcore.configure_pre_processor(image_size=size),
    )


def build_draem(options: argparse.Namespace) -> object:
    """DRAEM at its defaults."""
    from anomalib.models import Draem

    return Draem(
        dtd_dir=options.textures,
        pre_processor=Draem.configure_pre_processor(image_size=tuple(options.image_size)),
    )


def build_data(options: argparse.Namespace) -> object:
    """Images and masks of the folder; half of the test images are for validation."""
    from anomalib.data import Folder

    defects = sorted(path.name for path in (options.data / "ground_truth").iterdir())
    return Folder(
        name="images",
        root=options.data,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{name}" for name in defects],
        mask_dir=[f"ground_truth/{name}" for name in defects],
        train_batch_size=options.batch_size,
        eval_batch_size=options.batch_size,
        num_workers=options.workers,
    )


def write_table(batches: list, path: Path) -> None:
    """Score and decision of each image; anomalib writes pictures only."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "score", "is_anomalous"])
        for batch in batches:
            table.writerows(
                zip(
                    batch.image_path,
                    batch.pred_score.flatten().tolist(),
                    batch.pred_label.flatten().tolist(),
                    strict=True,
                )
            )


if __name__ == "__main__":
    main()
