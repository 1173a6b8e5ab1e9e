"""`inspect=true`: reads a data set as training would, says what is in it, and trains nothing."""

from __future__ import annotations

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from capsule_inspection.config import terminal
from capsule_inspection.config.quoting import format_command
from capsule_inspection.data.file_facts import facts_path, load_facts
from capsule_inspection.data.manifest import write_split_csv
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.types import TRAIN, DataError, RunError, RunFiles
from capsule_inspection.workflows import dataset
from capsule_inspection.workflows.record import repeat_arguments

log = logging.getLogger(__name__)


def inspect_dataset(config: DictConfig) -> Path:
    """Print what is in the configured data set and write a page; returns its path.

    Raises DataError where training would: without a page where the images cannot be read as
    configured, after it for a split that they do not allow and for too many near-duplicates.
    Raises RunError where the folder has a run.
    """
    from capsule_inspection.reports.dataset import tables
    from capsule_inspection.reports.dataset.page import write_dataset_page

    folder = Path(HydraConfig.get().runtime.output_dir)
    if (folder / RunFiles.RECORD).exists():
        raise RunError(
            f"hydra.run.dir={folder}: there is a run in this folder, whose {RunFiles.SPLIT} would "
            "be replaced. Name another folder."
        )
    task, problem = get_task(config), ""
    try:
        index, cache = dataset.load_dataset(config.data)
    except DataError as error:
        if not str(error).startswith("data.near_duplicates=group"):
            raise
        problem, config.data.near_duplicates = str(error), "report"
        index, cache = dataset.load_dataset(config.data)
    try:
        index = task.assign_split(index)
        trained = {sample.label for sample in index.samples if sample.split == TRAIN}
        expected = {label for label in range(len(index.classes)) if task.uses(TRAIN, label)}
        absent = [index.classes[label] for label in sorted(expected - trained)]
        if absent and not problem:
            problem = f"split={config.split.name}: no training image shows {', '.join(absent)}."
    except DataError as error:
        problem = str(error)
    facts = load_facts(facts_path(Path(config.data.cache_folder) / "index", index.root))
    images = tables.images_table(
        index, cache, {path: fact.bit_depth for path, fact in facts.items()}
    )
    write_split_csv(index, folder / RunFiles.SPLIT)
    for table in (
        tables.class_table(images, index.classes),
        tables.file_table(images, index.classes),
        tables.defect_table(images, index.classes),
    ):
        if table is not None:
            terminal.console().print(table.for_terminal())
    about = {
        "model": config.model.name,
        "roi": str(config.data.roi),
        "inventory": str(index.inventory.get("summary", f"{len(index)} images.")),
        "command": format_command([arg for arg in repeat_arguments() if arg != "inspect=true"]),
    }
    page = write_dataset_page(folder, index, cache, images, about=about, problem=problem)
    log.info("Page: %s", page)
    if problem:
        raise DataError(f"{problem} Training would end with this message.")
    return page
