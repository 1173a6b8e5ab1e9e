"""From the classes that a layout has found to those of the data set: `data.class_map`, good class.

Annotation formats apply the map themselves while they draw masks.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from capsule_inspection.data.layouts.names import (
    GOOD,
    check_class_names,
    find_good_class,
    is_good_name,
    readable,
)
from capsule_inspection.data.layouts.samples import (
    MASK_SEPARATOR,
    FoundSample,
    FoundSamples,
    LayoutSettings,
    join_names,
    sort_samples,
)
from capsule_inspection.types import DEFECT, DataError


def finish_samples(
    root: Path,
    samples: Iterable[FoundSample],
    settings: LayoutSettings,
    *,
    layout: str,
    warnings: Sequence[str] = (),
    other_files: Iterable[str] = (),
) -> FoundSamples:
    """The samples of a layout, sorted, with mapped classes, the good one first.

    Images of classes that the map drops are among `other_files`, since their absence is wanted.
    Raises DataError for unknown names in the map, for names that are easily confused, and where the
    good class is not clear.
    """
    found = list(samples)
    names = map_names({sample.class_name for sample in found}, settings.class_map, where=root)
    kept = [
        replace(sample, class_name=new)
        for sample in found
        if (new := names[sample.class_name]) is not None
    ]
    if found and not kept:
        raise DataError(f"{root}: data.class_map drops all classes, so there are no images.")
    dropped = [sample for sample in found if names[sample.class_name] is None]
    if dropped:
        counts = Counter(sample.class_name for sample in dropped)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        warnings = [*warnings, f"data.class_map leaves out the images of {listed}."]
    classes = {sample.class_name for sample in kept} - {""}
    check_class_names(classes, root)
    wanted, known = settings.good_class, settings.known_classes
    if wanted is None and known and (known[0] in classes or not any(map(is_good_name, classes))):
        good_class = known[0]
    else:
        good_class = find_good_class(classes, wanted, root)
    return replace(
        sort_samples(root, kept, good_class=good_class),
        layout=layout,
        mask_rules=settings.mask_rules,
        warnings=tuple(warnings),
        other_files=frozenset(other_files) | (_files(dropped) - _files(kept)),
    )


def _files(samples: Sequence[FoundSample]) -> set[str]:
    masks = (sample.mask.split(MASK_SEPARATOR) for sample in samples if sample.mask)
    return {sample.path for sample in samples}.union(*masks)


def map_names(
    names: Iterable[str], class_map: Mapping[str, str | None], *, where: object
) -> dict[str, str | None]:
    """What each name becomes, None where it is dropped; "" stays.

    Raises DataError for a name in the map that is not among them.
    """
    found = set(names)
    wanted = {readable(name): new for name, new in class_map.items()}
    if wanted and found == {""}:
        raise DataError(
            f"{where}: the masks decide whether an image is {GOOD} or {DEFECT}, and data.class_map "
            "does not rename these. Leave it out, or name the classes in a table (data=manifest)."
        )
    lower = {name.lower(): name for name in sorted(found - {""})}
    for name in sorted(wanted.keys() - (found - {""})):
        near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
        hint = f"Did you mean {lower[near[0]]}?" if near else "Remove it, or use a name of these."
        raise DataError(
            f"{where}: data.class_map names the class {name}, which no image has; found "
            f"{join_names(sorted(found - {''}))}. {hint}"
        )
    return {name: wanted.get(name, name) if name else name for name in found}
