"""Tables as spreadsheets and scripts of several systems write them."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet as pq

from capsule_inspection.data.table_paths import FileFinder
from capsule_inspection.data.tables import Table, read_table
from capsule_inspection.types import DataError

TEXT = "path,label\ngood/0.png,good\ncrack/0.png,crack\n"
CELLS = [("good/0.png", "good"), ("crack/0.png", "crack")]


def read(
    folder: Path, content: str | bytes, name: str = "a.csv", encoding: str | None = None
) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    finder = FileFinder(folder)
    return read_table(path, required=("path", "label"), finder=finder, encoding=encoding)


def cells(table: Table) -> list[tuple[str, str]]:
    return [(row.cells["path"], row.cells["label"]) for row in table.rows]


def parquet(names: list[str]) -> bytes:
    """A table of good images."""
    stream = io.BytesIO()
    table = pyarrow.table({"path": names, "label": ["good"] * len(names)})
    pq.write_table(table, stream, compression="none")
    return stream.getvalue()


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
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    ],
)
def test_delimiters_and_forms_of_unicode_are_found(tmp_path: Path, content: str | bytes) -> None:
    table = read(tmp_path, content)
    assert cells(table) == CELLS
    assert table.note == ""


def test_quoted_values_may_have_anything_and_lines_are_counted(tmp_path: Path) -> None:
    table = read(tmp_path, 'sep=;\npath;label\n"a;b\nc";"x ""y"""\n\nd, e.png;z\n', "a.txt")
    assert cells(table) == [("a;b\nc", 'x "y"'), ("d, e.png", "z")]
    assert [row.where for row in table.rows] == ["line 4", "line 6"]


def test_words_of_western_languages_are_read_as_cp1252_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("größe/0.png", "délaminé"), ("b.png", "Über")]
    content = "".join(f"{path},{label}\n" for path, label in [("path", "label"), *rows])
    assert cells(read(tmp_path, content.encode("cp1252"))) == rows
    assert "read as cp1252" in caplog.text
    assert "größe/0.png" in caplog.text


@pytest.mark.parametrize(("word", "encoding"), [("裂", "gb18030"), ("crack裂", "gb18030"),
                                                ("ひび", "cp932"), ("скол", "cp1251"),
                                                ("défaut", "mac_roman")])  # fmt: skip
def test_other_encodings_are_read_only_by_name(tmp_path: Path, word: str, encoding: str) -> None:
    content = f"path,label\na.png,good\nb.png,{word}\n".encode(encoding)
    with pytest.raises(DataError, match=r"a\.csv, line 3: .* not UTF-8.*data\.encoding"):
        read(tmp_path, content)
    assert cells(read(tmp_path, content, encoding=encoding))[1] == ("b.png", word)


def test_names_of_files_that_are_no_text_stay_as_they_are(tmp_path: Path) -> None:
    name = b"\xe9\xff.png".decode("utf-8", "surrogateescape")
    (tmp_path / name).touch()
    table = read(tmp_path, b"path,label\n\xe9\xff.png,good\n")
    assert cells(table) == [(name, "good")]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (TEXT + "a,b,c\n", "a.csv", r"line 4: expected 2 values, found another number \(3\)"),
        (TEXT + "a\n", "a.csv", r"line 4: expected 2 values, found another number \(1\)"),
        (TEXT + '"a,b', "a.csv", r"a\.csv, line 4: not valid CSV"),
        (TEXT, "a.xlsx", r"expected a table named \.csv, \.parquet.*Export it as CSV UTF-8"),
        (TEXT.encode("utf-16-le"), "a.csv", "no text .* NUL, as in UTF-16 without its mark"),
        (b"\xff\xfea", "a.csv", "damaged or no text"),
        ("x" * 200_000 + "\na,b", "a.csv", r"field larger than field limit"),
        (parquet(["a.png"] * 100_000), "a.parquet", "it has 100000 rows, and fewer bytes"),
        (parquet(["a.png"]).replace(b"a.png", b"a\xe9.pn"), "a.parquet", "cannot be read as Par"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, content: str | bytes, name: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, name)
