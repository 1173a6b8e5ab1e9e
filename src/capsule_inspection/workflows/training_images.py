"""The images of a training, read and split before torch is imported.

A mistake in the data costs what listing and reading take, and no run is begun.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from capsule_inspection.config.terminal import is_first_process
from capsule_inspection.data import given_split
from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.validation import fingerprint
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.types import TRAIN, VAL, DataError, DataIndex, RunFiles
from capsule_inspection.workflows import dataset
from capsule_inspection.workflows.record import check_folder


def read_images(config: DictConfig) -> tuple[DataIndex, ImageCache]:
    """The images of a configured training, after a check of its run folder.

    Raises RunError where the folder cannot be used, DataError as `find_images` does.
    """
    folder = Path(config.resume or HydraConfig.get().runtime.output_dir)
    if is_first_process():
        check_folder(folder, is_resumed=bool(config.resume))
    return find_images(config, folder)


def find_images(config: DictConfig, folder: Path) -> tuple[DataIndex, ImageCache]:
    """The images with their split, which a resumed run reads from its folder.

    Raises DataError where they do not allow the split, or have changed since a run that is resumed.
    """
    index, cache = dataset.load_dataset(config.data)
    if has_split(config, folder):
        index = given_split.from_manifest(index, folder / RunFiles.SPLIT)
    else:
        index = get_task(config).assign_split(index)
    for stage in (TRAIN, VAL):
        if not any(sample.split == stage for sample in index.samples):
            raise DataError(
                f"split={config.split.name}: it has no {stage} images; both are needed."
            )
    if config.resume:
        found = fingerprint(index)
        if read_record(folder).get("data", {}).get("fingerprint", found) != found:
            raise DataError(
                f"{index.root}: the images have changed since this run began. Restore them, or "
                "start a new run."
            )
    return index, cache


def has_split(config: DictConfig, folder: Path) -> bool:
    """Whether a run is resumed that has a split already."""
    return bool(config.resume) and (folder / RunFiles.SPLIT).is_file()
