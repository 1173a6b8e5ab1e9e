"""Columns of a table that are not used, and look as if they had masks, splits or groups.

They would be left out in silence where their names are not usual ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice

from capsule_inspection.config.quoting import quote
from capsule_inspection.data.layouts.names import fold, readable, split_of
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR
from capsule_inspection.data.table_columns import Column

_LOOKED_AT = 5  # values of a column that is not used
_IMAGES_OF_PART = 5
_PART_NAME = re.compile(
    r"seri|bauteil|\b(teil|part|piece|pièce|pieza|pezzo|specimen)|\b(lot|batch|charge)\b|"
    "序列|部品|零件"
)
_PART_CODE = re.compile(r"[^\W\d_]+[\W_]*\d+")  # "SN-001", "part 7"


def warn_unused(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    chosen: Mapping[str, Column],
    *,
    open_roles: Collection[str],
    find_image: Callable[[str], object],
) -> tuple[str, ...]:
    """A sentence for each column that is not used and looks like a mask, a split or a group.

    `open_roles` are the kinds of values that no column has yet; `find_image` gives what identifies
    an image file, None where there is none.
    """
    used = {column.position for column in chosen.values()}
    paths = [row[chosen["path"].position] for row in rows]
    labels = len({row[chosen["label"].position] for row in rows}) if "label" in chosen else 0
    warnings = []
    for i, name in enumerate(header):
        if i in used or not name:
            continue
        cells = [row[i].strip() for row in rows]
        values = sorted(set(cells) - {""})
        filled = ((cells[row], path) for row, path in enumerate(paths) if cells[row])
        names = ((cell.split(MASK_SEPARATOR)[0], path) for cell, path in filled)
        images = [
            cell
            for cell, path in islice(names, _LOOKED_AT)
            if (image := find_image(cell)) is not None and image != find_image(path)
        ]
        splits = [value for value in values if split_of(value)]
        if "mask" in open_roles and images:
            role, what = "mask", f"names image files, such as {images[0]}; these may be masks"
        elif "split" in open_roles and len(splits) > len(values) / 2:
            role, what = "split", f"has names of splits ({', '.join(splits[:_LOOKED_AT])})"
        elif "group" in open_roles and _looks_like_parts(name, cells, values, labels):
            role, what = "group", f"seems to tell parts apart, such as {values[0]}"
        else:
            continue
        name = readable(name)
        setting = quote(name) if re.search(r"[\[\]{},'\"]", name) else name
        warnings.append(
            f"The column {name} is not used, and {what}. If it has the {role}s, set "
            f'"data.columns={{{role}: {setting}}}".'
        )
    return tuple(warnings)


def _looks_like_parts(name: str, cells: Sequence[str], values: Sequence[str], labels: int) -> bool:
    """Whether several images have one value, and name or values are as those of parts."""
    count = len(cells) - cells.count("")
    if not 1 < len(values) < count:
        return False
    is_code = labels < len(values) and count <= _IMAGES_OF_PART * len(values)
    return bool(_PART_NAME.search(fold(name))) or (
        is_code and all(map(_PART_CODE.fullmatch, values))
    )
