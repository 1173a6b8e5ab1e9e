"""Which column of a table has the paths, classes, masks, splits and groups of the images.

The exact names (path, label, mask, split, group) come first, then usual ones in any case and
spelling. Of several columns the content decides; where it does not, the table is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from capsule_inspection.data.layouts.names import GOOD, fold, readable
from capsule_inspection.types import DEFECT, DataError

_USUAL_NAMES = {
    "path": "image image_path image_file image_file_name image_file_path image_filename image_name "
    "img img_path img_file img_name file file_path file_name filename filepath relative_path",
    "label": "labels class classes class_name class_label label_name category category_name "
    "defect defect_type defect_class defect_name target",
    "mask": "masks mask_path mask_file mask_file_name mask_filename mask_name segmentation "
    "segmentation_path segmentation_mask ground_truth ground_truth_path gt_mask gt_path",
    "split": "subset set partition",
    "group": "group_id part part_id serial serial_number serial_no",
}
_DEFECT_FLAGS = (
    "defect is_defect is_defective defective has_defect anomaly is_anomaly anomalous is_anomalous "
    "damaged is_damaged"
)
_GOOD_FLAGS = "good is_good ok is_ok is_normal passed"
_TRUE = frozenset({"1", "true", "t", "yes", "y"})
_FALSE = frozenset({"0", "false", "f", "no", "n"})


class Column(NamedTuple):
    """Where a kind of value stands; `values` replaces the cells of a column of true and false."""

    position: int
    values: Mapping[str, str] | None = None


def known_columns(header: Sequence[str], roles: Sequence[str]) -> int:
    """How many of the kinds of values have a column by its name."""
    return sum(bool(_candidates(header, role)) for role in roles)


def choose_columns(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    is_file: Callable[[str], bool],
) -> dict[str, Column]:
    """The column of each of the required and optional kinds of values.

    Raises DataError, without the table's name, where a required one is missing or two columns
    contradict each other.
    """
    chosen: dict[str, Column] = {}
    for role in (*required, *optional):
        positions = _candidates(header, role)
        exact = [header[i] for i in _named(header, role)]
        if len(exact) > 1:
            raise DataError(f"the columns {' and '.join(exact)} have one name. Rename one.")
        if role == "label":
            column = _choose_label(header, rows, positions)
        elif role in ("path", "mask"):
            column = _choose_by_files(header, rows, positions, role=role, is_file=is_file)
        else:
            column = _choose_equal(header, rows, positions, role=role)
        if column is not None:
            chosen[role] = column
    missing = [role for role in required if role not in chosen]
    if missing:
        found = ", ".join(readable(name) for name in header if name)[:200]
        raise DataError(
            f"the column{'s' * (len(missing) > 1)} {', '.join(missing)} must be there; found "
            f"{found or 'none'}. Name the columns in the first "
            "line; usual names such as image, filename, class, mask_path are taken too."
        )
    return chosen


def describe_columns(header: Sequence[str], chosen: Mapping[str, Column]) -> str:
    """What was taken for what, where that is not plain from the names; "" where it is."""
    taken = [
        f"{header[column.position]} -> {role}{_describe_values(column.values)}"
        for role, column in chosen.items()
        if header[column.position] != role or column.values
    ]
    used = {column.position for column in chosen.values()}
    unused = [readable(name) for i, name in enumerate(header) if i not in used and name]
    parts = [", ".join(taken)] if taken else []
    parts += [f"not used: {', '.join(unused)}"] if unused else []
    return "; ".join(parts)


def _describe_values(values: Mapping[str, str] | None) -> str:
    if not values:
        return ""
    return f" ({', '.join(f'{value}: {name}' for value, name in sorted(values.items()))})"


def _compact(name: str) -> str:
    return fold(name).replace(" ", "").replace(".", "")


def _named(header: Sequence[str], names: str) -> list[int]:
    wanted = {_compact(name) for name in names.split()}
    return [i for i, name in enumerate(header) if _compact(name) in wanted]


def _candidates(header: Sequence[str], role: str) -> list[int]:
    """Columns with the exact name, then or else those with a usual one."""
    exact = _named(header, role)
    usual = _named(header, _USUAL_NAMES.get(role, ""))
    return exact + usual if role in ("path", "mask", "label") else exact or usual


def _choose_by_files(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    positions: Sequence[int],
    *,
    role: str,
    is_file: Callable[[str], bool],
) -> Column | None:
    """Of several columns the one whose first value is a file: a folder or an id is none."""
    if len(positions) < 2:
        return Column(positions[0]) if positions else None
    with_files = [i for i in positions if is_file(_first_value(rows, i))]
    if _compact(header[positions[0]]) == role and positions[0] in with_files:
        return Column(positions[0])
    return _choose_equal(header, rows, with_files or positions[:1], role=role)


def _choose_equal(
    header: Sequence[str], rows: Sequence[Sequence[str]], positions: Sequence[int], *, role: str
) -> Column | None:
    """The first of columns that agree. Raises DataError where they do not."""
    if role == "group":
        positions = [i for i in positions if not _is_constant(header, rows, i)]
    for other in positions[1:]:
        if any(row[positions[0]].strip() != row[other].strip() for row in rows):
            raise _contradiction(header, positions[0], other, role)
    return Column(positions[0]) if positions else None


def _choose_label(
    header: Sequence[str], rows: Sequence[Sequence[str]], positions: Sequence[int]
) -> Column | None:
    """The column of class names; numbers give way to the names that stand one to one with them."""
    positions = [i for i in positions if i not in _named(header, "defect") or not _flags(rows, i)]
    exact = bool(positions) and _compact(header[positions[0]]) == "label"
    ordered = positions if exact else sorted(positions, key=lambda i: _is_numeric(rows, i))
    if not ordered:
        return _choose_flag(header, rows)
    first, others = ordered[0], ordered[1:]
    if exact and _is_numeric(rows, first):
        named = [
            other
            for other in others
            if _is_one_to_one(rows, first, other)
            and (_compact(header[other]) == "class" or not _has_one_value(rows, other))
        ]
        return Column((named or [first])[0])
    for other in others:
        if not exact and not _is_one_to_one(rows, first, other):
            raise _contradiction(header, first, other, "label")
    return Column(first)


def _choose_flag(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Column | None:
    """A column of true and false whose name says what is true: a defect, or a good part."""
    for names, true, false in ((_DEFECT_FLAGS, DEFECT, GOOD), (_GOOD_FLAGS, GOOD, DEFECT)):
        for position in _named(header, names):
            if flags := _flags(rows, position):
                return Column(
                    position, {value: true if value.lower() in _TRUE else false for value in flags}
                )
    return None


def _flags(rows: Sequence[Sequence[str]], position: int) -> set[str]:
    """The values of a column of true and false; empty where there are others."""
    values = {row[position].strip() for row in rows} - {""}
    return values if {value.lower() for value in values} <= _TRUE | _FALSE else set()


def _is_numeric(rows: Sequence[Sequence[str]], position: int) -> bool:
    return all(row[position].strip().isdecimal() for row in rows)


def _is_one_to_one(rows: Sequence[Sequence[str]], first: int, other: int) -> bool:
    pairs = {(row[first].strip(), row[other].strip()) for row in rows}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _is_constant(header: Sequence[str], rows: Sequence[Sequence[str]], position: int) -> bool:
    """Whether a column that is not named `group` has one value only, as the name of a product."""
    return _compact(header[position]) != "group" and _has_one_value(rows, position)


def _has_one_value(rows: Sequence[Sequence[str]], position: int) -> bool:
    return len({row[position].strip() for row in rows}) == 1


def _first_value(rows: Sequence[Sequence[str]], position: int) -> str:
    return next((row[position] for row in rows if row[position].strip()), "")


def _contradiction(header: Sequence[str], first: int, other: int, role: str) -> DataError:
    return DataError(
        f"the columns {header[first]} and {header[other]} both could be {role}, and they differ. "
        f"Rename the right one to {role}."
    )
