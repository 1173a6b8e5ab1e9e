"""`predict.py`: predictions for images, in a folder with a gallery."""

from __future__ import annotations

import hashlib
import itertools
import logging
import shlex
import sys
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from capsule_inspection.config.quoting import format_command
from capsule_inspection.config.resolvers import safe_name
from capsule_inspection.data.image_notes import note_sentences
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.data.parallel import in_order
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.inference import prediction_folder
from capsule_inspection.inference.input_images import find_images
from capsule_inspection.inference.prediction_folder import PredictionFolder, Row, absolute_path
from capsule_inspection.inference.predictions import ERROR, PredictedImage, Visualization
from capsule_inspection.inference.predictor import ALL, DEFECTS, Predictor
from capsule_inspection.types import DataError

if TYPE_CHECKING:
    from capsule_inspection.reports.run.test_result import TestResult

log = logging.getLogger(__name__)
_MAX_LISTED = 5
_MAX_STEM = 60


def predict(config: DictConfig) -> None:
    """Predict as `conf/predict.yaml` says.

    Raises RunError where the model or the output folder cannot be used, DataError where there are
    no images, and, after all others are predicted, where some cannot be read.
    """
    paths = find_images(config.input)
    # Here, since importing torch takes seconds: a wrong `input` is reported before.
    from capsule_inspection.reports.run.test_result import stored_result
    from capsule_inspection.workflows import hardware
    from capsule_inspection.workflows.load_run import choose_runtime, load_predictor

    run = Path(config.run)
    runtime = choose_runtime(run, config.trainer)
    if config.trainer.threads == "auto" and len(paths) > 1:
        runtime = replace(runtime, threads=backend_threads(runtime.threads))
    predictor = load_predictor(
        run,
        runtime,
        max_pixels=config.max_pixels,
        bit_depth=config.bit_depth,
        threshold=config.threshold.value,
        verify=config.verify == "full",
    )
    tested = stored_result(predictor.metadata.run, where=f"run={run}")
    output = Path(HydraConfig.get().runtime.output_dir)
    settings = _fixed_settings(predictor, config, precision=runtime.precision)
    with PredictionFolder(output, made_by=settings) as results:
        done = results.done()
        numbers = _free_numbers(paths, done, taken=results.overlay_numbers())
        missing = [path for path in paths if absolute_path(path) not in done]
        log.info("Output folder: %s. After an interruption %s.", output, _how_to_resume(config))
        if results.continues:
            log.info("%s: %d images are predicted, %d remain.", output, len(done), len(missing))
        workers = hardware.available_cores() if config.workers == "auto" else config.workers
        stream = predictor.stream(
            missing, batch_size=config.batch_size, workers=workers, explain=config.explain
        )
        with progress_bar("Predicting") as show:
            numbered = zip(numbers, stream, strict=True)
            rows = build_rows(output, numbered, config.overlays, workers=workers)
            for count, row in enumerate(rows, start=1):
                results.add(row)
                show(count, len(missing))
        results.sort([absolute_path(path) for path in paths])
        _report(results, predictor, config, tested)


def _free_numbers(
    paths: Sequence[Path], done: Container[str], *, taken: Collection[int]
) -> list[int]:
    """The numbers of the overlays of images that are not done: their places among all images.

    So a command that is repeated gives the names of an undisturbed one. Where another image's
    overlay has the number, as after images were added, it is one that is free.
    """
    spare = itertools.count(max((len(paths) - 1, *taken)) + 1)
    return [
        next(spare) if number in taken else number
        for number, path in enumerate(paths)
        if absolute_path(path) not in done
    ]


def _how_to_resume(config: DictConfig) -> str:
    if config.output:
        return "run the same command again"
    setting = shlex.quote(f"output={HydraConfig.get().runtime.output_dir}")
    return f"run the command again with {setting}"


def backend_threads(cores: int) -> int:
    """Threads of the backend while other threads read images.

    With all cores every layer waits for the threads that decode: on two cores a folder takes as
    long or longer with the U-Net, and 0.89 of the time with ResNet18 (docs/experiments/speed.md).
    """
    return max(1, cores // 2)


def _fixed_settings(predictor: Predictor, config: DictConfig, *, precision: str) -> dict[str, Any]:
    """What must be equal where predictions are resumed."""
    metadata = predictor.metadata
    return {
        "model": metadata.model,
        "checkpoint": metadata.run.get("checkpoint_sha256"),
        "backend": predictor.backend.name,
        "precision": precision,
        "threshold": config.threshold.value,
        "bit_depth": metadata.bit_depth,
        "overlays": config.overlays,
        "explain": config.explain,
    }


def build_rows(
    output: Path, numbered: Iterable[tuple[int, PredictedImage]], overlays: str, *, workers: int
) -> Iterator[Row]:
    """Rows of the predictions, which have a number; their overlays are drawn by threads.

    `file` is the absolute path of the image, `coloured` whether its overlay shows a heatmap or a
    mask.
    """

    def build_row(one: tuple[int, PredictedImage]) -> Row:
        number, predicted = one
        prediction, drawn = predicted.prediction, predicted.visualization
        file = absolute_path(Path(prediction.path))
        row = {**prediction.as_row(), "file": file, **predicted.identity}
        row |= {"notes": list(predicted.notes), "coloured": False}
        row |= {"overlay": None, "overlay_sha256": None}
        is_drawn = overlays == ALL or (overlays == DEFECTS and prediction.is_defect)
        if drawn is not None and is_drawn:
            name, sha256 = _write_overlay(output, drawn, Path(prediction.path).stem, number)
            row |= {"overlay": name, "overlay_sha256": sha256}
            row["coloured"] = drawn.heatmap is not None or drawn.mask is not None
        return row

    return in_order(build_row, numbered, workers=workers)


def _write_overlay(output: Path, drawn: Visualization, stem: str, number: int) -> tuple[str, str]:
    """Name and SHA-256 of an overlay.

    It is not flushed, which would wait for the disk: one that a power cut damages is found by its
    SHA-256 and drawn again, and `PredictionFolder.finish` flushes all of them.
    """
    from capsule_inspection.reports.plots.overlays import compose, encode_png

    name = f"{prediction_folder.OVERLAYS}/{number:06d}_{safe_name(stem)[:_MAX_STEM]}.png"
    outlines = () if drawn.mask is None else (drawn.mask,)
    pixels = compose(
        drawn.image,
        heat=drawn.heatmap,
        mask=drawn.mask,
        outlines=outlines,
        width_px=drawn.image.shape[1],
    )
    content = encode_png(pixels)
    (output / name).write_bytes(content)
    return name, hashlib.sha256(content).hexdigest()


def _report(
    results: PredictionFolder,
    predictor: Predictor,
    config: DictConfig,
    tested: TestResult | None,
) -> None:
    """Write gallery and tables, log a summary. Raises DataError where images cannot be read."""
    from capsule_inspection.reports.gallery.page import write_gallery
    from capsule_inspection.reports.run.test_result import describe_result

    rows, metadata = results.rows, predictor.metadata
    counts = _count(rows, metadata.task)
    about = {
        "title": f"{metadata.model}: {numbered(counts['images'], 'image')}",
        "task": metadata.task,
        "model": metadata.model,
        "run": str(config.run),
        "classes": list(metadata.classes),
        "command": format_command(["predict.py", *sys.argv[1:]]),
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "counts": counts,
        "tested": describe_result(tested),
        "is_usable": tested is None or tested.is_usable,
        "legend": any(row["overlay"] and row["coloured"] for row in rows),
    }
    page = write_gallery(results.folder, rows, about=about)
    results.finish()
    log.info(
        "%s: %d with a defect, %d good; %d near the threshold, %d unlike the training images.",
        numbered(len(rows), "image"),
        *(counts[name] for name in ("defects", "good", "near", "unlike")),
    )
    noted = ((row["path"], row["notes"]) for row in rows)
    for sentence in note_sentences(noted, total=len(rows)):
        log.warning("%s", sentence)
    if predictor.ood_detector is None:
        log.warning(
            "This run has no out-of-distribution detector (too few training images), so no image "
            "is reported as unlike the training images."
        )
    log.info("Gallery: %s", page)
    tables = (results.folder / name for name in (prediction_folder.TABLE, prediction_folder.ROWS))
    log.info("Tables:  %s and %s", *tables)
    level = logging.INFO if tested is not None and tested.is_usable else logging.WARNING
    log.log(level, "How good this model is: %s", describe_result(tested))
    failed = [row for row in rows if row["status"] == ERROR]
    if failed:
        listed = "; ".join(f"{row['path']}: {row['error']}" for row in failed[:_MAX_LISTED])
        more = f"; and {len(failed) - _MAX_LISTED} more" if len(failed) > _MAX_LISTED else ""
        raise DataError(
            f"{len(failed)} of {len(rows)} images cannot be read, all others are predicted "
            f"({listed}{more}). Repair them and {_how_to_resume(config)}: only these are read."
        )


def _count(rows: Sequence[Mapping[str, Any]], task: str) -> dict[str, int]:
    """Number of images of each result."""
    from capsule_inspection.reports.gallery.page import is_near_threshold

    found = Counter(
        "errors" if row["status"] == ERROR else "defects" if row["is_defect"] else "good"
        for row in rows
    )
    return {
        "images": len(rows),
        **{key: found[key] for key in ("defects", "good", "errors")},
        "near": sum(is_near_threshold(row, task) for row in rows),
        "unlike": sum(bool(row.get("ood_warnings")) for row in rows),
    }
