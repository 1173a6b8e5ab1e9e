"""`convert.py`: annotations as masks and a table of images, for `data=manifest` and other tools."""

from __future__ import annotations

import csv
import logging
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig

from capsule_inspection.config.quoting import format_command, quote
from capsule_inspection.data.annotations.formats import convert_annotations, recognise
from capsule_inspection.data.layouts.samples import FoundSamples, join_names
from capsule_inspection.data.layouts.tree import FileTree, scan_tree
from capsule_inspection.files import atomic_dir, remove_partial, transient_lock
from capsule_inspection.integrity import content_of
from capsule_inspection.types import IGNORE_INDEX, DataError, RunError
from capsule_inspection.workflows.find_samples import layout_settings
from capsule_inspection.workflows.record import require_empty_folder

log = logging.getLogger(__name__)
TABLE = "images.csv"
_PLAIN = re.compile(r"(?!(true|false|null)$)[A-Za-z_][A-Za-z0-9_.]*", re.IGNORECASE)


def convert(config: DictConfig) -> None:
    """Convert as `conf/convert.yaml` says.

    Raises RunError where the output folder is not empty or cannot be written, DataError where the
    annotations have faults or do not fit the images.
    """
    output = Path(config.output).absolute()
    if not (output / TABLE).is_file():
        require_empty_folder(output)
    try:
        tree = scan_tree(
            Path(config.input), exclude=list(config.data.exclude), expected="annotated images"
        )
        name = config.format if config.format != "auto" else _recognised(tree)
        with transient_lock(output.with_name(f".{output.name}.lock")):
            remove_partial(output)
            may_be_finished = (output / TABLE).is_file()  # as after a kill at the end
            with TemporaryDirectory() if may_be_finished else atomic_dir(output) as place:
                folder = Path(place)
                converted = convert_annotations(name, tree, layout_settings(config.data), folder)
                _write_table(converted, folder / TABLE, output)
                if may_be_finished and content_of(folder) != content_of(output):
                    require_empty_folder(output)
    except DataError as error:
        raise DataError(str(error).replace("data.root", "input")) from error
    except OSError as error:
        raise RunError(
            f"output={output}: cannot be written ({error.strerror or error}). Make room, or name "
            "another folder."
        ) from error
    _report(converted, output)


def _recognised(tree: FileTree) -> str:
    """The one format that the folder has."""
    formats = recognise(tree)
    if len(formats) != 1:
        found = "; ".join(f"{name} ({why})" for name, why in formats.items()) or "none"
        raise DataError(
            f"{tree.root}: format=auto recognises one format, found {found}. Name it with format=."
        )
    (name, why), *_ = formats.items()
    log.info("format=auto: read as format=%s, since it has %s.", name, why)
    return name


def _write_table(converted: FoundSamples, table: Path, output: Path) -> None:
    """Write the table of images; paths are relative to the folder `output` that it gets into."""
    has_split = any(sample.split for sample in converted.samples)
    with table.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "label", "mask", *(["split"] if has_split else [])])
        for sample in converted.samples:
            place = Path(os.path.relpath(converted.root / sample.path, output)).as_posix()
            split = [sample.split] if has_split else []
            writer.writerow([place, sample.class_name, sample.mask or "", *split])


def _report(converted: FoundSamples, output: Path) -> None:
    masks = sum(sample.mask is not None for sample in converted.samples)
    log.info(
        "%s: %d images of the classes %s, %d masks.",
        *(converted.layout, len(converted.samples), join_names(converted.classes), masks),
    )
    for warning in converted.warnings:
        log.warning("%s", warning)
    log.info("Table: %s", output / TABLE)
    settings = ["data=manifest", f"data.path={output / TABLE}"]
    if masks:
        settings.append(f"data.mask_values={{{', '.join(_mask_values(converted))}}}")
    settings.append(f"data.good_class={_in_hydra(converted.classes[0])}")
    log.info("Train:  %s", format_command(["train.py", "model=unet", *settings]))


def _mask_values(converted: FoundSamples) -> list[str]:
    """The classes of the values, without those that no image has as its label."""
    labels = {sample.class_name for sample in converted.samples}
    classes = {**(converted.mask_rules.classes or {}), IGNORE_INDEX: None}
    hidden = [name for name in classes.values() if name is not None and name not in labels]
    if hidden:
        log.warning(
            "No image has the label %s: in the command below, these pixels are ignored.",
            join_names(hidden),
        )
    return [
        f"{value}: {_in_hydra(name) if name and name in labels else 'null'}"
        for value, name in classes.items()
    ]


def _in_hydra(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else quote(name)
