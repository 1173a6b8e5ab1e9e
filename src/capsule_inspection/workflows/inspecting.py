"""`predict.py`: photographs through a trained model, into a folder with a gallery."""

from __future__ import annotations

import logging
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from capsule_inspection.config.resolvers import safe_name
from capsule_inspection.data.cache import in_order
from capsule_inspection.inference import results
from capsule_inspection.inference.answers import ERROR, Answered
from capsule_inspection.inference.description import SEGMENTATION
from capsule_inspection.inference.photographs import list_photographs
from capsule_inspection.inference.predictor import ALL, DEFECTS, Predictor
from capsule_inspection.inference.results import Results, Row, whole_path
from capsule_inspection.types import DEFECT, GOOD_LABEL, DataError
from capsule_inspection.workflows.inputs import progress

log = logging.getLogger(__name__)
_SHOWN = 5
_LONGEST_STEM = 60


def predict(config: DictConfig) -> None:
    """Predict as `conf/predict.yaml` says.

    Raises RunError where the model or the output folder cannot be used, DataError where there is no
    photograph, and, when all others are done, where some could not be read.
    """
    paths = list_photographs(config.input)
    # Here, since torch takes seconds to import: a mistyped input is told before.
    from capsule_inspection.workflows import hardware
    from capsule_inspection.workflows.opening import choose, open_predictor

    run = Path(config.run)
    choices = choose(run, config.trainer)
    if config.trainer.threads == "auto" and len(paths) > 1:
        choices = replace(choices, threads=network_threads(choices.threads))
    predictor = open_predictor(run, choices, explain=config.explain, max_pixels=config.max_pixels)
    output = Path(HydraConfig.get().runtime.output_dir)
    with Results(output, made_by=_made_by(predictor, config, precision=choices.precision)) as kept:
        done = kept.done()
        missing = [path for path in paths if whole_path(path) not in done]
        log.info("Predictions go to %s. To go on after an interruption, %s.", output, again(config))
        if kept.continues:
            log.info("%s: %d photographs are done, %d to go.", output, len(done), len(missing))
        workers = hardware.available_cores() if config.workers == "auto" else config.workers
        stream = predictor.stream(missing, batch_size=config.batch_size, workers=workers)
        with progress("Predicting") as show:
            first = kept.next_number()
            rows = rows_of(output, stream, config.overlays, first=first, workers=workers)
            for count, row in enumerate(rows, start=1):
                kept.add(row)
                show(count, len(missing))
        rows_in_order = kept.finish([whole_path(path) for path in paths])
    _finish(output, predictor, rows_in_order, config)


def again(config: DictConfig) -> str:
    """How to go on in the same folder: without `output` the same command would begin a new one."""
    if config.output:
        return "run the same command again"
    setting = shlex.quote(f"output={HydraConfig.get().runtime.output_dir}")
    return f"run the command again with {setting}"


def network_threads(cores: int) -> int:
    """Threads for the network while others read photographs ahead of it.

    On all cores it would wait for those that decode at every layer: on two cores a folder takes as
    long or longer so with the U-Net, and .89 of the time with ResNet18 (docs/experiments.md).
    """
    return max(1, cores // 2)


def _made_by(predictor: Predictor, config: DictConfig, *, precision: str) -> dict[str, Any]:
    """What must be the same for predictions to be continued."""
    description = predictor.description
    return {
        "model": description.model,
        "checkpoint": description.origin.get("checkpoint_sha256"),
        "engine": predictor.engine.name,
        "precision": precision,
        "overlays": config.overlays,
        "explain": config.explain,
    }


def rows_of(
    output: Path, stream: Iterator[Answered], overlays: str, *, first: int, workers: int
) -> Iterator[Row]:
    """Rows of the answers; their pictures are drawn and written by threads.

    `file` is where a photograph is, `coloured` whether its picture shows more than itself.
    """

    def finish(numbered: tuple[int, Answered]) -> Row:
        number, answered = numbered
        said, seen = answered.answer, answered.seen
        row = {**said.as_row(), "file": whole_path(Path(said.path)), **answered.identity}
        row |= {"overlay": None, "coloured": False}
        if seen is not None and _is_drawn(answered, overlays):
            row["overlay"] = _draw(output, answered, number)
            row["coloured"] = seen.heat is not None or seen.mask is not None
        return row

    return in_order(finish, enumerate(stream, start=first), workers=workers)


def _is_drawn(answered: Answered, overlays: str) -> bool:
    return overlays == ALL or (overlays == DEFECTS and bool(answered.answer.is_defect))


def _draw(output: Path, answered: Answered, number: int) -> str:
    from capsule_inspection.reports.answer_pictures import answer_picture, write_png

    seen = answered.seen
    assert seen is not None
    stem = safe_name(Path(answered.answer.path).stem)[:_LONGEST_STEM]
    name = f"{results.OVERLAYS}/{number:06d}_{stem}.png"
    write_png(output / name, answer_picture(seen.image, heat=seen.heat, mask=seen.mask))
    return name


def _finish(output: Path, predictor: Predictor, rows: Sequence[Row], config: DictConfig) -> None:
    """The gallery, and a summary; raises DataError where photographs could not be read."""
    from capsule_inspection.reports.gallery import write_gallery

    counts = count(rows)
    page = write_gallery(output, rows, about=_about(predictor, config, rows))
    log.info(
        "%d photographs: %d with a defect, %d good, %d unlike the training photographs.",
        counts["images"],
        counts["defects"],
        counts["good"],
        counts["unlike"],
    )
    if predictor.appearance is None:
        log.warning(
            "This run has not kept how its training photographs look, so none could be told to be "
            "unlike them: train again to have it."
        )
    log.info("Look at:  %s", page)
    log.info("Tables:   %s and %s", output / results.TABLE, output / results.ROWS)
    failed = [row for row in rows if row["status"] == ERROR]
    if failed:
        shown = "; ".join(f"{row['path']}: {row['error']}" for row in failed[:_SHOWN])
        more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise DataError(
            f"{len(failed)} of {len(rows)} photographs could not be read, all others are done "
            f"({shown}{more}). Mend them and {again(config)}: only these are read anew."
        )


def count(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many photographs there are of each kind."""
    found = Counter(
        "errors" if row["status"] == ERROR else "defects" if row["is_defect"] else "good"
        for row in rows
    )
    return {
        "images": len(rows),
        **{key: found[key] for key in ("defects", "good", "errors")},
        "unlike": sum(bool(row.get("remarks")) for row in rows),
    }


def _about(predictor: Predictor, config: DictConfig, rows: Sequence[Row]) -> dict[str, Any]:
    description, counts = predictor.description, count(rows)
    classes = list(description.classes)
    if description.task == SEGMENTATION and not description.names_defects:
        classes = [classes[GOOD_LABEL], DEFECT]  # all marks are of one class
    return {
        "title": f"{description.model}: {counts['images']} photographs",
        "task": description.task,
        "model": description.model,
        "run": str(config.run),
        "classes": classes,
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "counts": counts,
        # Rows of older versions do not say so.
        "legend": any(row["overlay"] and row.get("coloured", True) for row in rows),
    }
