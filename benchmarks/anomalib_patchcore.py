"""`python -m benchmarks.anomalib_patchcore data=mvtec data.root=ROOT`: PatchCore of both.

Takes the settings of `train.py` for the data and the split. Both sides get the same images, the
same backbone and ImageNet weights, and banks of the same size, selected by each itself; then, for
the distances, the same bank. anomalib runs in an environment that is made for it and removed.
Both are timed in turns, in processes of their own, so nothing else should run meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

from benchmarks.measurements import HEADER, Measurement, format_line, interleave, ratios
from benchmarks.peers.environments import prepare_environment
from benchmarks.training import compose
from capsule_inspection.models.encoders import find_hub_weights
from capsule_inspection.models.weight_files import read_weights
from capsule_inspection.models.weights import find_imagenet
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.types import GOOD_LABEL, TEST, TRAIN
from capsule_inspection.workflows import dataset

WORKER = Path(__file__).with_name("patchcore_worker.py")
BACKBONE = "tf_efficientnet_lite0"
SIDES = ("ours", "anomalib")
ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Print accuracy and cost of both sides."""
    given = sys.argv[1:] if arguments is None else arguments
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = prepare_environment("anomalib", folder) / "python"
        labels = _write_arrays(given, folder)
        results, seconds = _run(folder, {"ours": Path(sys.executable), "anomalib": python})
    print(HEADER)
    for line in _measurements(results, seconds, labels):
        print(format_line(line))
    return 0


def _write_arrays(arguments: Sequence[str], folder: Path) -> np.ndarray:
    """Crops of training and test images, and the weights; returns which test images are defects."""
    config = compose(["model=patchcore", "split=one_class", *arguments])
    index, cache = dataset.load_dataset(config.data)
    index = get_task(config).assign_split(index)
    rows = {
        split: [
            row
            for row, sample in enumerate(index.samples)
            if sample.split == split and (split == TEST or sample.label == GOOD_LABEL)
        ]
        for split in (TRAIN, TEST)
    }
    path, package = find_imagenet(find_hub_weights(BACKBONE))
    state = read_weights(path).state
    state = state if package is None else package.to_timm_names(state)
    save_file(
        {key: value.contiguous() for key, value in state.items()}, folder / "weights.safetensors"
    )
    np.savez(
        folder / "arrays.npz",
        train=cache.images[rows[TRAIN]],
        test=cache.images[rows[TEST]],
        weights=str(folder / "weights.safetensors"),
        coreset_size=config.model.coreset_size,
    )
    return np.array([index.samples[row].label != GOOD_LABEL for row in rows[TEST]])


def _run(
    folder: Path, pythons: dict[str, Path]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, list[float]]]]:
    """Results of the last round of each side, and the seconds of all rounds."""
    results: dict[str, dict[str, np.ndarray]] = {}
    seconds: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}
    arrays = folder / "arrays.npz"

    def run(side: str) -> float:
        path = folder / f"{side}.npz"
        command = [pythons[side], WORKER, side, arrays, path]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{side} failed:\n{done.stderr[-2000:]}")
        found = results[side] = dict(np.load(path))
        for name in ("fit_s", "predict_s", "backbone_s"):
            seconds[side].setdefault(name, []).append(float(found[name]))
        return float(found["fit_s"])

    run("ours")
    np.savez(arrays, **dict(np.load(arrays)), bank=results["ours"]["bank"])
    for side in SIDES:
        seconds[side].clear()
    interleave({side: lambda side=side: run(side) for side in SIDES}, rounds=ROUNDS, warm_up=False)
    return results, seconds


def _measurements(
    results: dict[str, dict[str, np.ndarray]],
    seconds: dict[str, dict[str, list[float]]],
    labels: np.ndarray,
) -> list[Measurement]:
    ours, other = (results[side] for side in SIDES)
    auroc = {side: roc_auc_score(labels, results[side]["own"].max((1, 2))) for side in SIDES}
    relative = np.abs(ours["shared"] - other["shared"]).max() / ours["shared"].mean()
    images = len(labels)
    lines = [Measurement(f"image AUROC, own bank, {side}", (float(auroc[side]),)) for side in SIDES]
    lines += [
        Measurement(
            "difference of image AUROC", (abs(auroc["ours"] - auroc["anomalib"]),), target=0.005
        ),
        Measurement(
            "largest difference of distances, same bank / mean", (float(relative),), target=0.005
        ),
    ]
    for name, what in (("fit_s", "fit"), ("predict_s", "predict the test images")):
        ratio = ratios(seconds["ours"][name], seconds["anomalib"][name])
        lines.append(Measurement(f"{what}, ours / anomalib", ratio, target=1.0))
        lines += [Measurement(f"{what}, {side}", tuple(seconds[side][name]), "s") for side in SIDES]
    forward = ratios(seconds["ours"]["predict_s"], seconds["ours"]["backbone_s"])
    lines.append(
        Measurement(f"predict {images} images / backbone alone, ours", forward, target=1.5)
    )
    peak = float(ours["peak_bytes"] / other["peak_bytes"])
    return [*lines, Measurement("peak memory, ours / anomalib", (peak,), target=1.0)]


if __name__ == "__main__":
    sys.exit(main())
