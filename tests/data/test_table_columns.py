"""Which column is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from capsule_inspection.data.table_columns import choose_columns, describe_columns
from capsule_inspection.types import DataError

FILES = ("a.png", "b.png", "m.png")
OPTIONAL = ("mask", "split", "group")


def described(*lines: str, given: Mapping[str, str | None] | None = None) -> str:
    header, *rows = [line.split(",") for line in lines]
    chosen = choose_columns(
        header,
        rows,
        required=("path", "label"),
        optional=OPTIONAL,
        is_file=FILES.__contains__,
        given=given,
    )
    return describe_columns(header, chosen)


@pytest.mark.parametrize(
    ("lines", "taken"),
    [
        (("path,label,mask,split,group", "a.png,good,,,"), ""),
        (("Path,LABEL,Subset", "a.png,ok,"), "Path -> path, LABEL -> label, Subset -> split"),
        (
            ("imagePath,Class Name,mask_file,part-id,by", "a.png,ok,m.png,1,x", "b.png,x,,2,x"),
            "imagePath -> path, Class Name -> label, mask_file -> mask, part-id -> group; "
            "not used: by",
        ),
        (("label,class,path", "good,A,a.png", "crack,B,b.png"), "not used: class"),
        # An index of classes gives way to their names; another number does not.
        (("path,label,class", "a.png,0,good", "b.png,1,crack"), "class -> label; not used: label"),
        (("path,label,category", "a.png,0,vial", "b.png,1,vial"), "not used: category"),
        (("path,target,class", "a.png,0,ok", "b.png,1,nok"), "class -> label; not used: target"),
        (("path,class,category", "a.png,ok,ok", "b.png,x,x"), "class -> label; not used: category"),
        # The files decide between several columns of paths.
        (("file,filepath,label", "1,a.png,ok", "2,b.png,x"), "filepath -> path; not used: file"),
        # A column of parts with one value is the name of a product; a fold is no split.
        (("path,label,part,fold", "a.png,ok,vial,1", "b.png,x,vial,2"), "not used: part, fold"),
    ],
)  # fmt: skip
def test_usual_names_are_taken_and_said(lines: Sequence[str], taken: str) -> None:
    assert described(*lines) == taken


@pytest.mark.parametrize(
    ("lines", "taken"),
    [
        (("path,is_defect", "a.png,F", "b.png,T"), "is_defect -> label (F: good, T: defect)"),
        (("path,defect", "a.png,0", "b.png,1"), "defect -> label (0: good, 1: defect)"),
        (("path,OK", "a.png,yes", "b.png,no"), "OK -> label (no: defect, yes: good)"),
        (("path,defect", "a.png,none", "b.png,crack"), "defect -> label"),
        (("path,is_defect,label", "a.png,0,good", "b.png,1,crack"), "not used: is_defect"),
    ],
)  # fmt: skip
def test_true_and_false_are_classes_where_the_name_of_the_column_says_which(
    lines: Sequence[str], taken: str
) -> None:
    assert described(*lines) == taken


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"mask": "file"}, "img -> path, class -> label, file -> mask; not used: bad?, part"),
        ({"path": "FILE"}, "file -> path, class -> label; not used: img, bad?, part"),
        (
            {"path": "img", "label": "bad?", "group": "part"},
            "img -> path, bad? -> label, part -> group; not used: file, class",
        ),
        ({"path": "img", "label": "is_ok"}, "is_ok -> label (0: defect)"),
    ],
)
def test_given_columns_come_before_those_with_usual_names(
    given: Mapping[str, str], taken: str
) -> None:
    header = f"img,file,class,{'is_ok' if 'is_ok' in given.values() else 'bad?'},part"
    assert taken in described(header, "a.png,m.png,x,0,vial", given=given)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("id,label", "1,good"), "the column path must be there; found id, label"),
        (("path,is_fine", "a.png,1"), "the column label must be there"),
        (("path,label,Label", "a.png,x,y"), "the columns label and Label have one name"),
        (("path,class,category", "a.png,ok,ok", "b.png,x,ok"), "both could be label"),
        (("img,file,label", "a.png,b.png,ok"), "img and file both could be path"),
        (("path,label,set,subset", "a.png,ok,train,test"), "set and subset both could be split"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_with_the_columns(lines: Sequence[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        described(*lines)
