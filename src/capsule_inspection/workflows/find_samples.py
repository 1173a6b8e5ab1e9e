"""Configuration to found samples: which layout, annotation format or table is read, and how."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data.annotations.formats import find_annotated_samples
from capsule_inspection.data.auto import find_auto_samples
from capsule_inspection.data.layouts.file_kinds import suffix_of
from capsule_inspection.data.layouts.folder import find_folder_samples
from capsule_inspection.data.layouts.inventory import take_inventory
from capsule_inspection.data.layouts.mvtec import find_mvtec_samples
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR, FoundSamples, LayoutSettings
from capsule_inspection.data.layouts.tree import folder_of, scan_folders, scan_tree
from capsule_inspection.data.layouts.visa import find_visa_samples
from capsule_inspection.data.manifest import find_manifest_samples
from capsule_inspection.data.masks.rules import mask_rules
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.data.synthetic_dataset import load_or_render_dataset
from capsule_inspection.types import ConfigurationError

_PATHS = ("masks", "annotations", "cache_folder")
log = logging.getLogger(__name__)
_LAYOUTS = {
    "mvtec": find_mvtec_samples,
    "visa": find_visa_samples,
    "folder": find_folder_samples,
}


def find_samples(data: DictConfig, known_classes: Sequence[str] = ()) -> FoundSamples:
    """The samples of a configuration's data set, with the inventory of its files.

    `known_classes` are those of a trained model, the good one first.
    Raises DataError where they are not as the layout expects, ConfigurationError for settings that
    contradict each other.
    """
    if data.root and Path(data.root).absolute() == Path(data.cache_folder).absolute():
        raise ConfigurationError(
            f"data.cache_folder={data.cache_folder}: this is the folder of the images, data.root. "
            "Choose another one, such as data/cache."
        )
    if data.name == "synthetic":
        tree = scan_tree(_rendered(data))
        found = find_mvtec_samples(tree, LayoutSettings())
        unassigned = tuple(replace(sample, split="") for sample in found.samples)
        return take_inventory(tree, replace(found, samples=unassigned))
    settings = replace(layout_settings(data), known_classes=known_classes)
    exclude = list(data.exclude)
    if data.name == "manifest":
        base = Path(data.root) if data.root else None
        found = find_manifest_samples(
            Path(data.path),
            settings,
            root=base,
            exclude=exclude,
            encoding=data.encoding,
            columns={
                str(kind): None if name is None else str(name)
                for kind, name in data.columns.items()
            },
        )
        # The folders of its images and masks; a mask may be a folder itself.
        files = [name for each in found.samples for name in (each.path, each.mask) if name]
        files = [part for name in files for part in name.split(MASK_SEPARATOR)]
        folders = {name if not suffix_of(name) else folder_of(name) for name in files}
        tree = scan_folders(found.root, folders | set(map(folder_of, files)))
        return take_inventory(tree, found, unused="count")
    tree = scan_tree(Path(data.root), exclude=exclude, own_folders=[Path(data.cache_folder)])
    name = data.name
    if name == "auto":
        name, why, found = find_auto_samples(tree, settings)
        log.info("data=auto: read as data=%s (%s), since it has %s.", name, found.layout, why)
    elif name in _LAYOUTS:
        found = _LAYOUTS[name](tree, settings)
    else:
        found = find_annotated_samples(name, tree, settings)
    if found.root != tree.root:  # one category of several
        tree = tree.subtree(found.root.relative_to(tree.root).as_posix())
    return take_inventory(tree, found, unused="refuse" if name in _LAYOUTS else "warn")


def layout_settings(data: DictConfig) -> LayoutSettings:
    """The settings of layouts and formats; those that a data set does not have keep defaults.

    Raises ConfigurationError for a class or mask value that has no meaning.
    """
    given: dict[str, Any] = {}
    for setting in fields(LayoutSettings):
        value = OmegaConf.select(data, setting.name)
        if value is not None and setting.name not in ("class_map", "mask_rules"):
            given[setting.name] = Path(value) if setting.name in _PATHS else value
    values = data.mask_values
    return LayoutSettings(
        **given,
        class_map={str(old): _class_name(old, new) for old, new in data.class_map.items()},
        mask_rules=mask_rules(
            OmegaConf.to_container(values) if OmegaConf.is_config(values) else values,
            data.mask_ignore,
            data.mask_inverted,
        ),
    )


def _class_name(old: object, new: object) -> str | None:
    if new is None or (isinstance(new, str | int | float) and str(new).strip()):
        return None if new is None else str(new).strip()
    raise ConfigurationError(
        f"data.class_map={{{old}: {new}}}: expected the name of a class, or null to leave it out."
    )


def _rendered(data: DictConfig) -> Path:
    """Folder of the synthetic capsules, which are rendered where they are missing."""
    with progress_bar("Drawing capsules") as show:
        return load_or_render_dataset(
            Path(data.root),
            seed=data.seed,
            size_px=data.size_px,
            counts=OmegaConf.to_container(data.counts),  # type: ignore[arg-type]
            workers=data.workers,
            verify=data.verify,
            cache_folder=Path(data.cache_folder),
            progress=show,
        )
