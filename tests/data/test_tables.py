"""Tables as spreadsheets and scripts of several systems write them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from capsule_inspection.data.table_paths import FileFinder
from capsule_inspection.data.tables import Table, read_table
from capsule_inspection.types import DataError

TEXT = "path,label\ngood/0.png,good\ncrack/0.png,crack\n"
CELLS = [("good/0.png", "good"), ("crack/0.png", "crack")]


def read(folder: Path, content: str | bytes, name: str = "a.csv") -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, required=("path", "label"), finder=FileFinder(folder))


def cells(table: Table) -> list[tuple[str, str]]:
    return [(row.cells["path"], row.cells["label"]) for row in table.rows]


@pytest.mark.parametrize(
    "content",
    [
        *(TEXT.replace(",", delimiter) for delimiter in ";\t|"),
        "sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n"),
        "sep=,\n" + TEXT,
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\r"),
        TEXT.replace("\n", ",,\n") + ",,,\n\n",  # empty columns and rows of a spreadsheet
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    ],
)
def test_delimiters_and_forms_of_unicode_are_found(tmp_path: Path, content: str | bytes) -> None:
    table = read(tmp_path, content)
    assert cells(table) == CELLS
    assert (table.note, table.warnings) == ("", ())


def test_quoted_values_may_have_anything_and_lines_are_counted(tmp_path: Path) -> None:
    table = read(tmp_path, 'sep=;\npath;label\n"a;b\nc";"x ""y"""\n\nd, e.png;z\n', "a.txt")
    assert cells(table) == [("a;b\nc", 'x "y"'), ("d, e.png", "z")]
    assert [row.where for row in table.rows] == ["line 4", "line 6"]


@pytest.mark.parametrize(
    ("encoding", "folder", "good", "defect"),
    [
        ("cp1252", "good", "good", "délaminé"),  # no file has the letters: those of the West
        ("cp1252", "größe", "good", "größe"),
        ("mac_roman", "größe", "good", "größe"),
        ("cp1250", "pęknięcie", "good", "pęknięcie"),
        ("gb18030", "good", "良品", "划痕"),  # confirmed by a usual name
        ("cp932", "good", "良品", "キズ"),
        ("cp1251", "царапина", "good", "царапина"),
    ],
)
def test_other_encodings_are_read_and_named_where_files_or_words_confirm_them(
    tmp_path: Path, encoding: str, folder: str, good: str, defect: str
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "0.png").touch()
    text = f"path,label\n{folder}/0.png,{good}\n{folder}/0.png,{defect}\n"
    table = read(tmp_path, text.encode(encoding))
    assert [row.cells["path"] for row in table.rows] == [f"{folder}/0.png"] * 2
    (warning,) = table.warnings
    assert f"not UTF-8; it was read as {encoding}" in warning
    assert "CSV UTF-8" in warning


@pytest.mark.parametrize(
    ("encoding", "label"), [("mac_roman", "délaminé"), ("gb18030", "划痕"), ("cp1251", "царапина")]
)
def test_an_encoding_that_nothing_confirms_is_refused(
    tmp_path: Path, encoding: str, label: str
) -> None:
    content = f"path,label\na.png,good\nb.png,{label}\n".encode(encoding)
    with pytest.raises(DataError, match=r"not UTF-8.*Save it as CSV UTF-8"):
        read(tmp_path, content)


def test_names_of_files_that_are_no_text_stay_as_they_are(tmp_path: Path) -> None:
    name = b"\xe9\xff.png".decode("utf-8", "surrogateescape")
    (tmp_path / name).touch()
    table = read(tmp_path, b"path,label\n\xe9\xff.png,good\n")
    assert cells(table) == [(name, "good")]
    assert table.warnings == ()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (TEXT + "a,b,c\n", "a.csv", r"line 4: expected 2 values, found another number \(3\)"),
        (TEXT + "a\n", "a.csv", r"line 4: expected 2 values, found another number \(1\)"),
        (TEXT + '"a,b', "a.csv", r"a\.csv, line 4: not valid CSV"),
        (TEXT, "a.feather", r"expected a table named \.csv, \.parquet"),
        (b"PK\x03\x04", "a.csv", "a workbook of a spreadsheet, not text"),
        (b"\xff\xfea", "a.csv", "damaged or no text"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, content: str | bytes, name: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, name)
