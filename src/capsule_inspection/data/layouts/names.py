"""Usual names of splits and of good classes; class names and stems that are easily confused.

Names are compared by `fold`, which leaves out case, blanks and Unicode's several forms of one text.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable

from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import TEST, TRAIN, VAL, DataError

GOOD = "good"
_SHOWN = 12
_MAX_LENGTH = 200
_CONTROL = ("Cc", "Cs", "Zl", "Zp")
_NO_UTF8 = re.compile("[\udc80-\udcff]")  # as os.fsdecode stands in for such bytes
_NO_CLASS = re.compile(
    "unlabel{1,2}ed|unannotated|unsorted|unclassified|private|thumb(nail)?s?|previews?|backups?|trash"
)
_SEPARATORS = re.compile(r"[\s_\-]+")
_SPLITS = {
    TRAIN: "train trains training trainset train_set training_set train_data training_data "
    "train_images training_images 训练 训练集 訓練 訓練集 学習",
    VAL: "val vals valid validate validation validationset val_set valid_set validation_set dev "
    "val_data validation_data val_images validation_images eval evaluation "
    "验证 验证集 驗證 驗證集 検証",
    TEST: "test tests testing testset test_set testing_set test_data testing_data test_images "
    "testing_images test_public 测试 测试集 測試 測試集 テスト",
}
_SPLIT_OF = {
    name.replace("_", " "): split for split, names in _SPLITS.items() for name in names.split()
}
# Without separators: "MT_Free" is that of the magnetic-tile data, "i.O." the German "in Ordnung".
_GOOD_NAMES_BY_LANGUAGE = """
good goods ok oks okay normal free mtfree defectfree nodefect nodefects nondefect nondefects
nondefective notdefective undefective withoutdefect withoutdefects defectless anomalyfree noanomaly
noanomalies nonanomalous faultfree nofault nofaults faultless flawless noflaw flawfree undamaged
notdamaged nondamaged nodamage damagefree intact healthy pass passed accepted
gut gutteil gutteile io inordnung fehlerfrei defektfrei
bon bonne bons conforme sansdefaut bueno buenos sindefecto buono buoni goed godkänd
良品 良好 良 合格 合格品 正常 正常品 ok品 無瑕疵 无瑕疵 無缺陷 无缺陷 양품 정상 годен годные норма
"""
_NAMES_OF_THINGS = """
image images img imgs picture pictures photo photos part parts piece pieces sample samples
item items product products front class teil teile bild bilder foto fotos stück klasse
"""
_THINGS = frozenset(_NAMES_OF_THINGS.split())
_GOOD_NAMES = frozenset(_GOOD_NAMES_BY_LANGUAGE.split())


def fold(name: str) -> str:
    """A name without what readers overlook: case, blanks around, the kind of separator and form."""
    text = unicodedata.normalize("NFKC", readable(name)).casefold()
    visible = "".join(each for each in text if unicodedata.category(each) != "Cf")
    return _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", visible)).strip()


def readable(name: str) -> str:
    """The name of a file as text, in Unicode's composed form (NFC).

    Bytes that are not UTF-8, as in an archive made on Windows, are decoded as cp1252 or Latin-1.
    """
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", _NO_UTF8.sub(_decode_byte, name))


def _decode_byte(surrogate: re.Match[str]) -> str:
    raw = os.fsencode(surrogate[0])
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def match_stem(name: str) -> str:
    """Stem of a file's name, in the form in which images and masks are matched."""
    base = name.rpartition("/")[2]
    stem, dot, _ = base.rpartition(".")
    return readable(stem if dot and stem else base)


def split_of(folder: str) -> str:
    """The split that a folder's name stands for: "train", "val", "test", or "" for none."""
    return _SPLIT_OF.get(fold(folder), "")


def is_good_name(name: str) -> bool:
    """Whether a name is a usual one for flawless parts, also as `ok_front` or `images_good`."""
    words = fold(name).split(" ")
    if len(words) > 1 and words[-1] in _THINGS:
        words.pop()
    if len(words) > 1 and words[0] in _THINGS:
        words.pop(0)
    return "".join(words).replace(".", "") in _GOOD_NAMES


def is_no_class(name: str) -> bool:
    """Whether a folder's name says that its images have no label, or are no data."""
    return fold(name) == "unknown" or any(map(_NO_CLASS.fullmatch, fold(name).split()))


def find_good_class(classes: Collection[str], good_class: str | None, where: object) -> str:
    """The class of flawless parts: `good_class`, or the only one with a usual name.

    Names are compared by `fold`. Raises DataError where there is none or several, naming `where`.
    """
    names = sorted(set(classes))
    if not names:
        return good_class or GOOD
    if good_class is not None:
        alike = [name for name in names if fold(name) == fold(good_class)]
        if good_class in names or len(alike) == 1:
            return good_class if good_class in names else alike[0]
        raise DataError(
            f"{where}: data.good_class={good_class} is not among the classes: {_listed(names)}. "
            "Set data.good_class to the one that holds the flawless parts."
        )
    usual = [name for name in names if is_good_name(name)]
    if len(usual) == 1:
        return usual[0]
    found = f"{_listed(usual)} all are usual names" if usual else "none has a usual name"
    raise DataError(
        f"{where}: which class holds the flawless parts is not clear; of {_listed(names)} {found} "
        "(good, ok, normal, ...). Set data.good_class to it."
    )


def check_class_names(classes: Iterable[str], where: object) -> None:
    """Raise DataError for control characters, and names that differ only in what `fold` drops."""
    classes = set(classes)
    for name in classes:
        # What breaks lines in tables and logs, and texts that are no names.
        if len(name) > _MAX_LENGTH or any(unicodedata.category(each) in _CONTROL for each in name):
            raise DataError(
                f"{where}: the name of the class {name[:20]!a} has control characters, or is "
                f"too long ({len(name)} characters; at most {_MAX_LENGTH} are possible). Rename "
                "the folder or the label, or take another column for it."
            )
    alike: dict[str, list[str]] = {}
    for name in sorted(classes):
        alike.setdefault(fold(name), []).append(name)
    confused = [names for names in alike.values() if len(names) > 1]
    if not confused:
        return
    shown = "; ".join(" and ".join(map(_quoted, names)) for names in confused)
    one = next((name for name in confused[0] if name == fold(name)), confused[0][0])
    others = [name for name in confused[0] if name != one]
    mapping = ",".join(f"{_quoted(other)}:{_quoted(one)}" for other in others)
    raise DataError(
        f"{where}: the classes {shown} differ only in case, blanks, separators or Unicode form. "
        f'Where they are one class, join them: "data.class_map={{{mapping}}}"; else rename them.'
    )


def _listed(names: Collection[str]) -> str:
    return list_first(list(names), _SHOWN)


def _quoted(name: str) -> str:
    """A name in quotes where blanks or other forms would not be seen."""
    plain = name.isascii() and name.isprintable() and " " not in name
    return name if plain else ascii(name)
