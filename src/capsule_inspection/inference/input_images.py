"""The image files that `input=` names: a file, a folder, a pattern or a table of paths."""

from __future__ import annotations

import functools
import glob
import logging
from collections.abc import Iterable
from pathlib import Path

from capsule_inspection.data.image_formats import FORMATS
from capsule_inspection.data.layouts.beside import count_paired, masks_by_suffix
from capsule_inspection.data.layouts.file_kinds import UNREAD_SUFFIXES, count_suffixes, suffix_of
from capsule_inspection.data.layouts.mask_folders import find_mask_folders
from capsule_inspection.data.layouts.samples import DEFAULT_MASK_SUFFIXES, join_names
from capsule_inspection.data.layouts.tree import FileTree, scan_tree
from capsule_inspection.data.table_paths import FileFinder
from capsule_inspection.data.tables import TABLE_SUFFIXES, log_notes, read_table
from capsule_inspection.inference.prediction_folder import RECORD
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)


def find_images(name: str) -> list[Path]:
    """The files that `input=` names, each once, sorted by name; those of a table in its order.

    A folder is searched recursively, linked folders too, for images; a single file and the rows of
    a table are taken whatever they are. Folders of predictions are left out.
    Raises DataError where nothing is found.
    """
    path = Path(name)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return _in_table(path) if path.suffix.lower() in TABLE_SUFFIXES else [path]
    if glob.has_magic(name):
        return _matching(name)
    raise DataError(
        f"input={name}: there is no such file or folder. Name an image, a folder, a pattern "
        "in quotes such as 'photos/*.png', or a table with a column path."
    )


def _in_folder(folder: Path) -> list[Path]:
    tree = scan_tree(folder, on_unreadable=_warn_unreadable)
    if not tree.images:
        written = join_names(name or "." for name in tree.predictions)
        found = f"only folders of predictions or of runs ({written})"
        raise DataError(
            f"input={folder}: expected images ({', '.join(FORMATS)}), found "
            f"{found if tree.predictions else count_suffixes(tree.files)}. Name another folder, or "
            "convert these files."
        )
    unread = [name for name in tree.files if suffix_of(name) in UNREAD_SUFFIXES]
    if unread := [name for name in unread if name not in tree.image_set]:
        log.warning(
            "input=%s: left out %s, such as %s, in no format that is read. Convert them to PNG.",
            folder,
            count_suffixes(unread),
            unread[0],
        )
    if tree.predictions:
        log.info("Folders of earlier predictions are left out: %s.", join_names(tree.predictions))
    left_out = {*tree.same_file(tree.images), *_find_masks(tree, folder)}
    images = (folder / name for name in tree.images if name not in left_out)
    return _without_predictions(images, name=str(folder))


def _find_masks(tree: FileTree, folder: Path) -> set[str]:
    """Images in folders of masks or named like masks beside images; none where all images are.

    Of pairs of one stem, names do not say which is the mask: these stay, with a warning.
    """
    masks = {name for each in find_mask_folders(tree) for name in tree.images_below(each.path)}
    masks |= masks_by_suffix([name for name in tree.images if name not in masks])
    if len(masks) == len(tree.images):
        return set()
    others = [name for name in tree.images if name not in masks]
    if masks:
        log.warning(
            "input=%s: %d of %d images are left out, since by their names they are masks, such as "
            "%s. To predict them all the same, name them by a pattern or a table.",
            *(folder, len(masks), len(tree.images), min(masks)),
        )
    if paired := count_paired(others, DEFAULT_MASK_SUFFIXES)[0]:
        log.warning(
            "input=%s: %d images seem to have a mask of the same name, which is predicted like an "
            "image. If so, name the images alone: a folder, a pattern or a table.",
            *(folder, paired),
        )
    return masks


def _warn_unreadable(error: OSError) -> None:
    log.warning("%s: left out, the folder cannot be read (%s).", error.filename, error.strerror)


def _without_predictions(paths: Iterable[Path], *, name: str) -> list[Path]:
    """The paths sorted, without the overlays that predict.py has drawn.

    Raises DataError where there are no others.
    """

    @functools.cache
    def holds_predictions(folder: Path) -> bool:
        return (folder / RECORD).is_file()

    found = sorted(paths)
    kept = [path for path in found if not any(map(holds_predictions, path.absolute().parents))]
    if not kept:
        raise DataError(
            f"input={name}: found {len(found)} files, all in a folder of predictions ({RECORD}), "
            "which are not input. Name another folder."
        )
    if len(kept) < len(found):
        log.info("%d overlays of earlier predictions are left out.", len(found) - len(kept))
    return kept


def _matching(pattern: str) -> list[Path]:
    # Not Path.glob, which takes no absolute patterns.
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    files = [path for path in found if path.is_file()]
    if not files:
        raise DataError(
            f"input={pattern}: no file is found by this pattern. Put it in quotes, so that the "
            "shell leaves it as it is; ** stands for any folders."
        )
    return _without_predictions(files, name=pattern)


def _in_table(table: Path) -> list[Path]:
    """Paths of a table, relative to its folder; missing files become rows with their error."""
    finder = FileFinder(table.parent)
    read = read_table(table, required=("path",), finder=finder)
    listed = [name for row in read.rows if (name := row.cells["path"])]
    if not listed:
        raise DataError(f"input={table}: the table has no rows with a path.")
    log_notes(table, read, finder)
    names = dict.fromkeys(finder.find(name).name or name.strip() for name in listed)
    return [table.parent / name for name in names]
