"""The commands that kill_loop.py and power_cut.py stop, and what may differ afterwards.

All are small: a training takes about a second. Each writes into the folder `work`.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks import forked

TRAINING = (
    "data.size_px=96",
    "data.counts={good: 16, crack: 4, faulty_imprint: 4, poke: 4, scratch: 4, squeeze: 4}",
    "data.workers=1",
    "task.image_size=[32,96]",
    "task.epochs=2",
    "task.batch_size=16",
    "trainer=cpu",
    "trainer.threads=1",
)
NETWORKS = {
    "custom_resnet": ("model=custom_resnet", "model.width=8", "model.depths=[1,1]"),
    "unet": (
        "model=unet",
        "model.encoder=autoencoder",
        "+model.encoder_options.width=4",
        "model.encoder_depth=3",
        "model.decoder_channels=[8,8,8]",
        "model.weights=none",
        "task.crop_size=[32,48]",
        "task.repeats=1",
        "data.synthesis.variants=2",
    ),
    "autoencoder": (
        "model=autoencoder",
        "model.width=4",
        "model.depth=3",
        "model.bottleneck=8",
        "model.head_width=4",
        "model.corruption=cutout",
        "task.crop_size=[32,48]",
        "task.repeats=1",
    ),
}


@dataclass(frozen=True)
class Case:
    """`again` is given to train.py where the same command is refused, since a run began."""

    name: str
    command: tuple[str, ...]
    again: tuple[str, ...] | None = None


def make_cases(shared: Path, work: Path) -> dict[str, Case]:
    """Each command by name; `shared` has what `prepare` has made."""
    warm = (f"data.root={shared / 'drawn'}", f"data.cache_folder={shared / 'cache'}")
    cold = (f"data.root={work / 'drawn'}", f"data.cache_folder={work / 'cache'}")
    small, run = NETWORKS["custom_resnet"], shared / "run"
    sweep = ("train.py", "-m", *TRAINING, *warm, *small, "seed=0,1", f"hydra.sweep.dir={work}")
    go_on = ("train.py", "-m", f"resume={work}")
    cases = [
        *(_training(name, (*network, *warm), work) for name, network in NETWORKS.items()),
        # The folders are given again: those that a run stores are used only if they exist.
        _training("cold", (*NETWORKS["unet"], *cold), work / "run", cold),
        Case("evaluate", ("evaluate.py", f"run={run}", "subset=val", f"output={work}")),
        Case("compare", ("compare.py", f"runs=[{run},{shared / 'other'}]", f"output={work}")),
        Case(
            "predict",
            (
                "predict.py",
                f"run={run}",
                f"input={shared / 'drawn'}/*/test/*/*.png",
                f"output={work}",
            ),
        ),
        *(
            Case(name, ("export.py", f"run={run}", f"format={name}", f"output={work}", "images=4"))
            for name in ("onnx", "torch_export")
        ),
        Case("convert", ("convert.py", f"input={shared / 'coco'}", f"output={work}")),
        Case("sweep", sweep, go_on),
        Case("parallel", (*sweep, "hydra/launcher=local_parallel"), go_on),
    ]
    return {case.name: case for case in cases}


def _training(name: str, settings: tuple[str, ...], run: Path, again: tuple[str, ...] = ()) -> Case:
    command = ("train.py", *TRAINING, *settings, f"hydra.run.dir={run}")
    return Case(name, command, ("train.py", f"resume={run}", *again))


def prepare_shared(shared: Path) -> None:
    """Draw images, fill caches, train two runs and write annotations."""
    shared.mkdir()
    data = (f"data.root={shared / 'drawn'}", f"data.cache_folder={shared / 'cache'}")
    runs = {"unet": "unet", "autoencoder": "autoencoder", "run": "custom_resnet"}
    for seed, (name, network) in enumerate({**runs, "other": "custom_resnet"}.items()):
        own = (*NETWORKS[network], *data, f"seed={seed}", f"hydra.run.dir={shared / name}")
        forked.run_to_end(("train.py", *TRAINING, *own), folder=shared)
    _write_annotations(shared)


def _write_annotations(shared: Path) -> None:
    """Annotations in the format of COCO: a square on every second image."""
    (drawn,) = (shared / "drawn").glob("*/test")
    images = sorted(drawn.rglob("*.png"))
    square = [10, 8, 20, 8, 20, 18, 10, 18]
    document = {
        "images": [
            {"id": key, "file_name": f"{path.parent.name}/{path.name}", "width": 96, "height": 96}
            for key, path in enumerate(images)
        ],
        "annotations": [
            {"id": key, "image_id": key, "category_id": 1, "segmentation": [square], "iscrowd": 0}
            for key in range(0, len(images), 2)
        ],
        "categories": [{"id": 1, "name": "poke"}],
    }
    shutil.copytree(drawn, shared / "coco")
    (shared / "coco" / "labels.json").write_text(json.dumps(document))


NOT_COMPARED = re.compile(
    r"(^|/)(\w+\.log|[\w.]+\.lock|events\.out\.tfevents.*"  # messages, locks, times of values
    r"|\.[^/]*\.part|.*\.partial|earlier_attempts"  # unfinished files, and jobs that began anew
    # Of a sweep, with the seconds of its runs; compare.py has the same pages of other runs.
    r"|comparison/(figures/learning_curves\.png|comparison\.(html|md)))(/|$)"
)
_TIMES = (
    r"started|finished|evaluated|exported|training_time_s|images_per_second"
    r"|inference_ms_per_image|resident"
)
DIFFERENCES = {
    r"(^|/)(run|export|sweep|output|prediction)\.json$": (
        r'"git_commit": .*',
        r'(?s)"command": \[.*?\n  \]',  # has the settings of each resume
        rf'"({_TIMES}|attempts|checksum)": .*',
        r'"((metrics|split)\.csv|run\.json|checkpoints/best\.ckpt)": .*',  # checksums
    ),
    r"(^|/)metrics\.csv$": (r"(?<=\d,)\d+\.\d{3}(?=,)",),  # seconds
    r"(^|/)split\.csv$": (r"\d{19}",),  # times of drawn images
    r"(^|/)(index-\w+\.json\.gz|\.files\.json)$": (r"\d{19}", r'"checksum": "\w+"'),
    r"(^|/)report\.html$": (
        r"(?<=epochs in )[\d.]+ s",
        r"(?<=network takes )[\d.]+ ms",
        r"(?s)<code>python.*?</code>",
    ),
    r"(^|/)index\.html$": (r"\d{4}-\d\d-\d\d \d\d:\d\d",),
    r"(^|/)comparison/comparison\.(csv|json)$": (r"[\d.]+",),  # of a sweep, likewise
}
"""What differs between two undisturbed runs, by the file's name; compared without it."""


def normalised_content(folder: Path) -> dict[str, bytes]:
    """The bytes of the files of a folder that are compared, by name."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: _normalised(name, path)
        for name, path in paths.items()
        if path.is_file() and not NOT_COMPARED.search(name)
    }


def _normalised(name: str, path: Path) -> bytes:
    if name.endswith(".ckpt"):
        return _checkpoint(path)
    content = path.read_bytes()
    for pattern, differences in DIFFERENCES.items():
        if re.search(pattern, name):
            content = gzip.decompress(content) if name.endswith(".gz") else content
            for one in differences:
                content = re.sub(one.encode(), b"-", content)
    return content


def _checkpoint(path: Path) -> bytes:
    """A checkpoint without the seconds of its epochs, as bytes.

    A training that goes on from best.ckpt, since last.ckpt is not written yet, does not know the
    path of the other file in its next one.
    """
    import torch

    dropped = ("seconds", "best_model_path")

    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return (str(value.dtype), value.shape, value.numpy().tobytes())
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items() if key not in dropped}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return repr(plain(torch.load(path, map_location="cpu", weights_only=True))).encode()
