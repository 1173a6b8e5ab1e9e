"""Figures, predictions and pictures of a trained network, into a folder; and `evaluate.py`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.resume import load_stored
from capsule_inspection.data import splits
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.manifest import read_split_csv, write_split_csv
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network
from capsule_inspection.reports.run_folder import (
    CHOSE,
    DECISION,
    SEEN,
    TEMPERATURE_SCALING,
    read_record,
)
from capsule_inspection.reports.run_tables import THRESHOLD
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.types import (
    AS_TRAINED,
    CALIBRATION,
    FORMAT_VERSION,
    TEST,
    VAL,
    ConfigurationError,
    DataError,
    DataIndex,
    Figure,
    RunFiles,
)
from capsule_inspection.workflows import building, hardware, inputs, predicting
from capsule_inspection.workflows.kinds import kind_of
from capsule_inspection.workflows.output_folder import refuse_used
from capsule_inspection.workflows.record import FAILED, FINISHED, INTERRUPTED, RUNNING, write_record

log = logging.getLogger(__name__)
_KEPT = ("task", "model", "seed", "weights", "corruption", THRESHOLD, DECISION, TEMPERATURE_SCALING)
"""Of a run's record, what its evaluations tell too."""
OPTIMISTIC = (
    "Optimistic: with split=origin the epoch, and what is decided after training, was chosen on "
    "the very images that these figures are measured on."
)


def final_stages(config: DictConfig, data: InspectionDataModule) -> dict[str, str]:
    """Which part of the split is reported as which stage: validation also as test for `origin`."""
    stages = {VAL: VAL, **{stage: stage for stage in kind_of(config).kept_out}}
    if config.split.name == "origin":
        stages[TEST] = VAL
    elif data.indices(TEST):
        stages[TEST] = TEST
    return stages


def evaluate_stages(
    folder: Path,
    task: InspectionTask,
    data: InspectionDataModule,
    *,
    stages: Mapping[str, str],
    choices: hardware.Choices,
    config: DictConfig,
    own_images: bool = True,
) -> dict[str, Figure]:
    """Predict each stage and write figures, predictions, thumbnails and pictures into `folder`.

    Stages whose images decided something after the training have no figures, unless these are not
    the run's own images.
    """
    from capsule_inspection.reports.run_page import write_run_page
    from capsule_inspection.reports.run_pictures import write_run_pictures

    kind = kind_of(config)
    predictions = {}
    for stage, part in stages.items():
        data.predict_stage = part
        predictions[stage] = kind.predict(task, data, stage, choices=choices)
    untold = kind.decided_on(config) if own_images else ()
    told = {stage: found for stage, found in predictions.items() if stage not in untold}
    figures = kind.figures(told, data, config)
    fold = config.split.get("fold")
    predicting.write_predictions(folder, data.index, predictions, fold=fold)
    predicting.write_thumbnails(folder, data, predictions)
    if TEST in predictions:
        predicting.write_maps(folder, data, predictions[TEST])
    predicting.write_figures(folder, figures)
    write_run_pictures(folder)
    write_run_page(folder)
    return figures


def tell(folder: Path, figures: Mapping[str, Figure], *, optimistic: bool) -> None:
    """Print the figures, and where to look."""
    from rich.console import Console

    from capsule_inspection.reports.summary import summary_table

    stages = {key.partition("/")[0] for key in figures}
    console = Console()
    console.print(
        summary_table(figures, stage=TEST if TEST in stages else min(stages, default=TEST))
    )
    if optimistic:
        log.warning(OPTIMISTIC)
    log.info("Run folder: %s (report.html, figures/, predictions.csv, metrics.json)", folder)
    log.info("Curves:     make tensorboard")


def evaluate(config: DictConfig) -> None:
    """Evaluate a run as `conf/evaluate.yaml` says.

    Raises RunError where the run is unreadable or the output folder is in use, DataError where the
    split has no such images.
    """
    run, output = Path(config.run), Path(HydraConfig.get().runtime.output_dir)
    record = read_record(run)
    _warn_unfinished(run, record)
    refuse_used(output)
    stored = load_stored(run / RunFiles.CONFIG)
    stored.data = _data_settings(config, stored)
    classes = tuple(record["data"]["classes"])
    index, cache = _find_images(config, stored, run, classes)
    choices = hardware.choose(config.trainer)
    hardware.apply(choices, exact=choices.precision == hardware.FULL)
    built = building.build_network(stored, num_classes=len(classes), weights="none")
    choices = hardware.fit_network(choices, built.network, asked=config.trainer.channels_last)
    checkpoint = read_checkpoint(run / RunFiles.BEST)
    restore_network(built.network, checkpoint, path=run / RunFiles.BEST)
    data = building.build_data_module(
        stored,
        index,
        cache,
        normalisation=built.network.normalisation,
        choices=choices,
    )
    task = building.build_task(stored, built.network, data)
    kind_of(stored).restore(task, checkpoint, where=str(run / RunFiles.BEST))
    images = task_images(data, config.stage)
    if not images:
        raise DataError(
            f"stage={config.stage}: the split has no {config.stage} images that the run's task "
            "takes. Name another stage or split."
        )
    own_split = config.split.name == AS_TRAINED
    as_before = own_split and bool(record.get("optimistic"))
    known = {
        SEEN: _seen_images(images, checkpoint),
        CHOSE: 0 if own_split else _images_that_chose(images, run),
    }
    known["optimistic"] = as_before or any(known.values())
    with _recorded(output, _write_inputs(output, record, config, data, known)):
        figures = evaluate_stages(
            output,
            task,
            data,
            stages={config.stage: config.stage},
            choices=choices,
            config=stored,
            own_images=own_split or known[CHOSE] == len(images),
        )
    if not figures:
        log.warning(
            "There are no figures: on these very images the run's threshold or decision was "
            "chosen, so they would say what was chosen, and no more. Say stage=test."
        )
    tell(output, figures, optimistic=as_before)


def _warn_unfinished(run: Path, record: Mapping[str, Any]) -> None:
    if record.get("status") != FINISHED:
        log.warning(
            "run=%s: this run is not finished, its status is %s. Its best epoch so far is "
            "evaluated, without what is fitted after training, such as a classifier's temperature. "
            "Finish it with python train.py resume=%s",
            run,
            record.get("status"),
            run,
        )


@contextmanager
def _recorded(output: Path, values: dict[str, Any]) -> Iterator[None]:
    """Writes into run.json how the block has ended."""
    ended: dict[str, Any] = {"status": FAILED}
    try:
        yield
        ended["status"] = FINISHED
    except Exception as error:
        ended["error"] = str(error)
        raise
    except BaseException:  # Ctrl-C, or a scheduler that takes the machine away
        ended["status"] = INTERRUPTED
        raise
    finally:
        write_record(output, values | ended)


def _data_settings(config: DictConfig, stored: DictConfig) -> DictConfig:
    """Settings of the data to evaluate on; crop and size are always the run's."""
    if config.data.name == AS_TRAINED:
        return inputs.as_trained(stored.data, config.data)
    data = OmegaConf.to_container(config.data, resolve=False)
    assert isinstance(data, dict)
    own = ("image_size", "roi", "roi_margin", "mode", "tile", "overlap", "native_size")
    fixed = {key: stored.data[key] for key in own if key in stored.data}
    return OmegaConf.create({**data, **fixed})


def _find_images(
    config: DictConfig, stored: DictConfig, run: Path, classes: tuple[str, ...]
) -> tuple[DataIndex, DecodedCache]:
    further = not kind_of(stored).names_defects
    index, cache = inputs.find_images(stored.data, classes=classes, further=further)
    if config.split.name != AS_TRAINED:
        return inputs.assign_split(index, config.split), cache
    if config.data.name != AS_TRAINED:
        raise ConfigurationError(
            f"data={config.data.name} needs a split of its own: the run's is of its own images. "
            "Say split=all_test to take every image that is found."
        )
    return splits.from_manifest(index, run / RunFiles.SPLIT), cache


def task_images(data: InspectionDataModule, stage: str) -> set[str]:
    """SHA-256 of the images of a stage."""
    return {data.index.records[number].sha256 for number in data.indices(stage)}


def _seen_images(images: set[str], checkpoint: dict[str, Any]) -> int:
    """How many images were seen in training; told where there are any."""
    seen = images & set(checkpoint["seen_sha256"])
    if seen:
        log.warning(
            "%d of the %d images were seen in training: these figures are optimistic.",
            len(seen),
            len(images),
        )
    return len(seen)


def _images_that_chose(images: set[str], run: Path) -> int:
    """How many images set epoch, threshold or decision of the run; told where there are any."""
    rows = read_split_csv(run / RunFiles.SPLIT) if (run / RunFiles.SPLIT).is_file() else []
    chose = {row.sha256 for row in rows if row.split in (VAL, CALIBRATION)}
    if images & chose:
        log.warning(
            "%d of the %d images had a part in choosing the epoch, the threshold or the decision: "
            "these figures are optimistic.",
            len(images & chose),
            len(images),
        )
    return len(images & chose)


def _write_inputs(
    output: Path,
    record: dict[str, Any],
    config: DictConfig,
    data: InspectionDataModule,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """What is known before the figures are; returns the record, which says running as yet."""
    index = data.index
    write_split_csv(index, output / RunFiles.SPLIT)
    (output / RunFiles.CONFIG).write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    kept: dict[str, Any] = {key: record[key] for key in _KEPT if key in record}
    own = config.data.name == AS_TRAINED
    stage = str(config.stage)
    described = {
        **record["data"],
        "name": record["data"]["name"] if own else config.data.name,
        "root": str(index.root),
        "classes": list(index.classes),
        "images": {stage: len(data.indices(stage))},
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    evaluated = {"format_version": FORMAT_VERSION, "status": RUNNING, "evaluated": now}
    values = {**evaluated, **kept, **facts, "data": described, "run": str(config.run)}
    write_record(output, values)
    return values
