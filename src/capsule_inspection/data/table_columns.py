"""Which column of a table has the paths, classes, masks, splits and groups of the images.

The names that are given (`data.columns`) come first, then the exact ones (path, label, mask, split,
group), then usual ones in any case and spelling. Of several columns the content decides; where it
does not, the table is refused.
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


def known_columns(
    header: Sequence[str], roles: Sequence[str], given: Mapping[str, str | None]
) -> int:
    """How many of the kinds of values have a column by its name."""
    return sum(
        bool(
            _with_name(header, given.get(role) or "")
            or _named(header, f"{role} {_usual_names(role)}")
        )
        for role in roles
    )


def choose_columns(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    is_file: Callable[[str], bool],
    given: Mapping[str, str | None] | None = None,
) -> dict[str, Column]:
    """The column of each of the required and optional kinds of values.

    `given` has the names of columns by the kind of their values, null for none; None where the
    user cannot give any. Raises DataError, without the table's name, where a required or given one
    is missing or two columns contradict each other.
    """
    columns = [[row[i].strip() for row in rows] for i in range(len(header))]
    wanted = {role: _position(header, role, name) for role, name in (given or {}).items()}
    others = ["" if i in wanted.values() else name for i, name in enumerate(header)]
    chosen: dict[str, Column] = {}
    for role in (*required, *optional):
        if role not in wanted:
            column = _choose_by_name(role, others, columns, is_file)
        elif (position := wanted[role]) is None:
            column = None
        else:
            only = [name if i == position else "" for i, name in enumerate(header)]
            flag = _choose_flag(only, columns) if role == "label" else None
            column = flag or Column(position)
        if column is not None:
            chosen[role] = column
    missing = [role for role in required if role not in chosen]
    if missing:
        examples = ", ".join(f"{role}: <column>" for role in missing)
        setting = "" if given is None else f', or set "data.columns={{{examples}}}"'
        raise DataError(
            f"the column{'s' * (len(missing) > 1)} {', '.join(missing)} must be there; found "
            f"{_listed(header)}. Name the columns in the first line{setting}; usual names such as "
            "image, filename, class, mask_path are taken too."
        )
    return chosen


def describe_columns(header: Sequence[str], chosen: Mapping[str, Column]) -> str:
    """What was taken for what, where that is not plain from the names; "" where it is."""
    taken = []
    for role, (position, values) in chosen.items():
        name = header[position]
        pairs = ", ".join(f"{value}: {name}" for value, name in sorted((values or {}).items()))
        if name != role or pairs:
            taken.append(f"{name} -> {role}{f' ({pairs})' if pairs else ''}")
    used = {column.position for column in chosen.values()}
    unused = [readable(name) for i, name in enumerate(header) if i not in used and name]
    parts = (", ".join(taken), f"not used: {', '.join(unused)}" if unused else "")
    return "; ".join(filter(None, parts))


def _compact(name: str) -> str:
    return fold(name).replace(" ", "").replace(".", "")


def _usual_names(role: str) -> str:
    return _USUAL_NAMES.get(role, "")


def _listed(header: Sequence[str]) -> str:
    return ", ".join(readable(name) for name in header if name)[:200] or "none"


def _position(header: Sequence[str], role: str, name: str | None) -> int | None:
    """Where the column stands that is given for a role; None where none is wanted."""
    if name is None:
        return None
    found = _with_name(header, name)
    if len(found) != 1:
        there = f"are {len(found)} columns" if found else "is no column"
        raise DataError(
            f"data.columns={{{role}: {name}}}: there {there} {name}; found {_listed(header)}."
        )
    return found[0]


def _with_name(header: Sequence[str], name: str) -> list[int]:
    """The columns of this name as it stands, else in any case and spelling."""
    same = [i for i, each in enumerate(header) if each and readable(each) == readable(name)]
    return same or [i for i, each in enumerate(header) if each and _compact(each) == _compact(name)]


def _choose_by_name(
    role: str,
    header: Sequence[str],
    columns: Sequence[Sequence[str]],
    is_file: Callable[[str], bool],
) -> Column | None:
    exact, usual = _named(header, role), _named(header, _usual_names(role))
    if len(exact) > 1:
        names = " and ".join(header[i] for i in exact)
        raise DataError(f"the columns {names} have one name. Rename one.")
    if role == "label":
        return _choose_label(header, columns, exact, usual)
    if role == "group":  # one value everywhere is the name of a product
        usual = [i for i in usual if len(set(columns[i])) > 1]
    found = exact or usual
    if role in ("path", "mask") and len(found) > 1:  # others are folders or numbers
        first = {i: next(filter(None, columns[i]), "") for i in found}
        found = [i for i in found if is_file(first[i])] or found
    for other in found[1:]:
        if columns[other] != columns[found[0]]:
            raise _contradiction(header, found[0], other, role)
    return Column(found[0]) if found else None


def _named(header: Sequence[str], names: str) -> list[int]:
    wanted = {_compact(name) for name in names.split()}
    return [i for i, name in enumerate(header) if _compact(name) in wanted]


def _choose_label(
    header: Sequence[str], columns: Sequence[Sequence[str]], exact: list[int], usual: list[int]
) -> Column | None:
    """The column of class names; numbers give way to the names that stand one to one with them."""
    flags = _named(header, "defect")
    usual = [i for i in usual if i not in flags or not _flags(columns[i])]
    if exact and _is_numeric(columns[exact[0]]):
        named = [
            i
            for i in usual
            if _is_one_to_one(columns[exact[0]], columns[i])
            and (_compact(header[i]) == "class" or len(set(columns[i])) > 1)
        ]
        return Column((named or exact)[0])
    if exact or not usual:
        return Column(exact[0]) if exact else _choose_flag(header, columns)
    first, *others = sorted(usual, key=lambda i: _is_numeric(columns[i]))
    for other in others:
        if not _is_one_to_one(columns[first], columns[other]):
            raise _contradiction(header, first, other, "label")
    return Column(first)


def _choose_flag(header: Sequence[str], columns: Sequence[Sequence[str]]) -> Column | None:
    """A column of true and false whose name says what is true: a defect, or a good part."""
    for names, true, false in ((_DEFECT_FLAGS, DEFECT, GOOD), (_GOOD_FLAGS, GOOD, DEFECT)):
        for i in _named(header, names):
            if flags := _flags(columns[i]):
                return Column(i, {flag: true if flag.lower() in _TRUE else false for flag in flags})
    return None


def _flags(column: Sequence[str]) -> set[str]:
    """The values of a column of true and false; empty where there are others."""
    values = set(column) - {""}
    return values if {value.lower() for value in values} <= _TRUE | _FALSE else set()


def _is_numeric(column: Sequence[str]) -> bool:
    return all(map(str.isdecimal, column))


def _is_one_to_one(first: Sequence[str], other: Sequence[str]) -> bool:
    return len(set(zip(first, other, strict=True))) == len(set(first)) == len(set(other))


def _contradiction(header: Sequence[str], first: int, other: int, role: str) -> DataError:
    return DataError(
        f"the columns {header[first]} and {header[other]} both could be {role}, and they differ. "
        f"Rename the right one to {role}."
    )
