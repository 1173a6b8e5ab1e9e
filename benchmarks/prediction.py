"""One photograph through a U-Net: from the file to marked regions, against the passes alone.

The network has random weights, which take as long as trained ones; the decision is such that some
pixels are marked. Both sides use what the machine chose for training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import our_training
from benchmarks.figures import Row, interleave, ratios
from benchmarks.our_training import Parts
from benchmarks.sizes import Sizes
from capsule_inspection.contracts import TRAIN
from capsule_inspection.data.cropping import cut_out
from capsule_inspection.data.reading import read_image
from capsule_inspection.data.roi import crop_box, find_foreground
from capsule_inspection.metrics.marking import Decision, mark, region_score
from capsule_inspection.tasks.segmentation import SegmentationTask

TARGET = 1.3
_PHOTOGRAPHS = 12


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for the seconds of a photograph, for those of the passes, and their ratio."""
    parts = our_training.prepare([*our_training.segmentation_overrides(sizes), "trainer=cpu"])
    task = parts.task.eval()
    assert isinstance(task, SegmentationTask)
    paths = [path for path, _ in our_training.paths_of(parts, TRAIN)[:_PHOTOGRAPHS]]
    images = [_read(parts, path) for path in paths]
    seconds = interleave(
        {
            "ours": _timed(lambda: [_predict(parts, task, path) for path in paths]),
            "passes": _timed(lambda: [_see(parts, task, image) for image in images]),
        },
        rounds=rounds,
    )
    each = {name: tuple(value / len(paths) for value in of) for name, of in seconds.items()}
    size = f"{sizes.size_px}x{sizes.size_px}"
    return [
        Row(f"unet: file of {size} to regions / passes", ratios(*each.values()), target=TARGET),
        Row(f"unet: file of {size} to regions", each["ours"], "s"),
        Row("unet: passes of one photograph", each["passes"], "s"),
    ]


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return run


def _read(parts: Parts, path: Path) -> Tensor:
    """The crop of a photograph, normalised: (1, 3, H, W)."""
    data = parts.config.data
    image = read_image(path)
    size = (data.image_size[0], data.image_size[1])
    crop = crop_box(
        (image.shape[0], image.shape[1]),
        roi=data.roi,
        image_size=size,
        margin=data.roi_margin,
        foreground=find_foreground(image),
    )
    pixels, _ = cut_out(image, box=crop.box, image_size=size)
    tensor = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2).float().div_(255)
    normalised: Tensor = parts.data.normalise(tensor)
    return normalised


def _see(parts: Parts, task: SegmentationTask, image: Tensor) -> Tensor:
    is_bfloat = parts.choices.precision == "bf16-mixed"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat):
        return task.see(image)


def _predict(parts: Parts, task: SegmentationTask, path: Path) -> int:
    probabilities = _see(parts, task, _read(parts, path))[0]
    foreground = probabilities[1:].sum(0).numpy()
    kind = (1 + probabilities[1:].argmax(0)).to(torch.uint8).numpy()
    decision = Decision(float(foreground.mean()), 20)
    region_score(foreground, decision.area_px)
    return mark(foreground, kind, decision).label
