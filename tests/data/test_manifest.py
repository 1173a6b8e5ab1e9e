from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from capsule_inspection.contracts import SPLIT_COLUMNS, DataError, DataIndex, ImageRecord
from capsule_inspection.data.layouts import Entry
from capsule_inspection.data.manifest import list_manifest, read_split_csv, write_split_csv

WriteImage = Callable[..., Path]
ROWS = [
    {"path": "b/1.png", "label": "crack", "mask": "m/1.png", "split": "train", "group": "p7"},
    {"path": "a/1.png", "label": "good", "mask": "", "split": "test", "group": ""},
]


@pytest.fixture
def photos(tmp_path: Path, write_image: WriteImage, write_mask: WriteImage) -> Path:
    """Folder with a/1.png, a/2.png, b/1.png and a mask m/1.png."""
    for seed, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        write_image(tmp_path / name, seed=seed)
    write_mask(tmp_path / "m/1.png")
    return tmp_path


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["parts.csv", "parts.parquet"])
def test_a_table_is_listed_with_all_its_columns(photos: Path, name: str) -> None:
    listing = list_manifest(write_table(photos / name, ROWS), good_class="good")
    assert listing.root == photos
    assert listing.classes == ("good", "crack")
    assert listing.entries == (
        Entry("a/1.png", "good", None, "test", ""),
        Entry("b/1.png", "crack", "m/1.png", "train", "p7"),
    )


@pytest.mark.parametrize("name", ["parts.csv", "parts.parquet"])
def test_path_and_label_are_enough_and_other_columns_do_no_harm(photos: Path, name: str) -> None:
    rows = [
        {"camera": 3, "path": "a/1.png", "label": "good", "class": "A"},
        {"camera": None, "path": "b/1.png", "label": "crack", "class": "B"},
    ]
    listing = list_manifest(write_table(photos / name, rows), good_class="good")
    assert [(e.path, e.class_name, e.mask, e.split) for e in listing.entries] == [
        ("a/1.png", "good", None, ""),
        ("b/1.png", "crack", None, ""),
    ]


@pytest.mark.parametrize("name", ["parts.csv", "parts.parquet"])
def test_a_missing_column_is_an_error_that_names_those_found(photos: Path, name: str) -> None:
    table = write_table(photos / name, [{"file": "a/1.png", "label": "good"}])
    with pytest.raises(DataError, match="the column path must be there; found file, label"):
        list_manifest(table, good_class="good")


def test_semicolons_are_noticed(photos: Path) -> None:
    (photos / "a.csv").write_text("path;label\na/1.png;good\n")
    with pytest.raises(DataError, match="Separate the columns with commas"):
        list_manifest(photos / "a.csv", good_class="good")


def test_a_column_that_stands_twice_is_an_error(photos: Path) -> None:
    (photos / "a.csv").write_text("path,label,label\na/1.png,good,crack\n")
    with pytest.raises(DataError, match="the columns label stand twice"):
        list_manifest(photos / "a.csv", good_class="good")


def test_all_faults_are_named_at_once_with_their_lines(photos: Path) -> None:
    (photos / "a.csv").write_text(
        "path,label,mask,split\n"
        "a/1.png,good,,\n"
        "\n"
        "a/9.png,good,,\n"
        "a/2.png,,,\n"
        "b/1.png,crack,m/9.png,tests\n"
        ",good,,\n"
        "a/1.png,crack,,\n"
    )
    with pytest.raises(DataError) as caught:
        list_manifest(photos / "a.csv", good_class="good")
    message = str(caught.value)
    assert "6 faults" in message
    for fault in (
        "line 4: there is no file a/9.png",
        "line 5: the column label is empty",
        "line 6: there is no mask m/9.png",
        "line 6: the column split must be empty or one of train, val, test, calibration; found",
        "line 7: the column path is empty",
        "line 8: a/1.png stands on line 2 already",
    ):
        assert fault in message


def test_many_faults_are_counted_and_twenty_shown(photos: Path) -> None:
    rows = [{"path": f"x/{i}.png", "label": "good"} for i in range(30)]
    with pytest.raises(DataError, match="30 faults") as caught:
        list_manifest(write_table(photos / "a.csv", rows), good_class="good")
    assert "x/19.png" in str(caught.value)
    assert "x/20.png" not in str(caught.value)
    assert "and 10 more" in str(caught.value)


def test_faults_of_a_parquet_table_have_their_rows(photos: Path) -> None:
    table = write_table(photos / "a.parquet", [{"path": "a/9.png", "label": "good"}])
    with pytest.raises(DataError, match=r"row 1: there is no file a/9\.png"):
        list_manifest(table, good_class="good")


def test_paths_are_relative_to_the_root_that_is_given(photos: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    table = write_table(tables / "a.csv", ROWS)
    assert list_manifest(table, root=photos, good_class="good").root == photos
    with pytest.raises(DataError, match=r"relative to .*tables \(data\.root\)"):
        list_manifest(table, good_class="good")


def test_absolute_paths_are_kept_where_they_lie_outside_of_the_root(
    photos: Path, tmp_path: Path
) -> None:
    root = tmp_path / "elsewhere"
    root.mkdir()
    rows = [{"path": photos / "a/1.png", "label": "good"}]
    table = write_table(photos / "t.csv", rows)
    assert list_manifest(table, root=root, good_class="good").entries[0].path == str(
        photos / "a/1.png"
    )
    assert list_manifest(table, root=photos, good_class="good").entries[0].path == "a/1.png"


def test_tables_of_spreadsheets_with_byte_order_mark_and_blanks_work(photos: Path) -> None:
    (photos / "a.csv").write_bytes(
        b"\xef\xbb\xbfpath, label\r\na/1.png, good\r\nb/1.png,crack \r\n"
    )
    assert list_manifest(photos / "a.csv", good_class="good").classes == ("good", "crack")


def test_other_scripts_spaces_and_commas_in_paths_work(
    photos: Path, write_image: WriteImage
) -> None:
    write_image(photos / "膠囊 好, 1/ж ñ.png")
    rows = [{"path": "膠囊 好, 1/ж ñ.png", "label": "好"}]
    listing = list_manifest(write_table(photos / "表.csv", rows), good_class="好")
    assert listing.entries[0].path == "膠囊 好, 1/ж ñ.png"


def test_a_row_with_too_many_values_is_an_error_with_its_line(photos: Path) -> None:
    (photos / "a.csv").write_text("path,label\na/1.png,good\nb,1.png,crack\n")
    with pytest.raises(DataError, match="line 3: expected 2 values, found another number"):
        list_manifest(photos / "a.csv", good_class="good")


def test_an_unknown_good_class_is_an_error(photos: Path) -> None:
    table = write_table(photos / "a.csv", ROWS)
    with pytest.raises(DataError, match=r"data\.good_class=ok is not .*: crack, good\."):
        list_manifest(table, good_class="ok")


@pytest.mark.parametrize("content", ["", "path,label\n"])
def test_an_empty_table_is_an_error(photos: Path, content: str) -> None:
    (photos / "a.csv").write_text(content)
    with pytest.raises(DataError, match=r"no rows|must be there; found none"):
        list_manifest(photos / "a.csv", good_class="good")


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv: there is no such file.*data\.path"):
        list_manifest(tmp_path / "a.csv", good_class="good")


def test_another_kind_of_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(DataError, match=r"expected a table named \.csv or \.parquet"):
        list_manifest(tmp_path / "a.xlsx", good_class="good")


def test_a_damaged_parquet_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more than this")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        list_manifest(tmp_path / "a.parquet", good_class="good")


def test_an_unclosed_quote_is_an_error_with_its_line(photos: Path) -> None:
    (photos / "a.csv").write_text('path,label\n"a/1.png,good\n')
    with pytest.raises(DataError, match=r"a\.csv, line 2: not valid CSV"):
        list_manifest(photos / "a.csv", good_class="good")


@pytest.fixture
def index(photos: Path) -> DataIndex:
    """Index of the photos with a split, a mask and odd characters in a group."""

    def record(path: str, label: int, mask: str | None, split: str, group: str) -> ImageRecord:
        return ImageRecord(
            path=path,
            label=label,
            mask=mask,
            sha256="0" * 64,
            width=24,
            height=16,
            size_bytes=1234,
            modified_ns=1_700_000_000_123_456_789,
            group=group,
            split=split,
        )

    records = (
        record("b/1.png", 1, "m/1.png", "train", 'a "b", 膠囊'),
        record("a/1.png", 0, None, "test", "g"),
        record("a/2.png", 0, None, "", "g"),
    )
    return DataIndex(photos, ("good", "crack"), records)


def test_a_split_comes_back_as_it_was_written(index: DataIndex, tmp_path: Path) -> None:
    write_split_csv(index, tmp_path / "split.csv")
    rows = read_split_csv(tmp_path / "split.csv")
    assert tuple(row.to_record() for row in rows) == index.records
    assert [row.index for row in rows] == [0, 1, 2]
    assert [row.class_name for row in rows] == ["crack", "good", "good"]
    first = (tmp_path / "split.csv").read_text(encoding="utf-8").splitlines()[0]
    assert first == ",".join(SPLIT_COLUMNS)


def test_a_split_is_a_table_for_data_manifest(
    index: DataIndex, photos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run" / "split.csv"
    path.parent.mkdir()
    write_split_csv(index, path)
    listing = list_manifest(path, root=photos, good_class="good")
    assert listing.classes == ("good", "crack")
    assert {(e.path, e.class_name, e.mask, e.split) for e in listing.entries} == {
        ("b/1.png", "crack", "m/1.png", "train"),
        ("a/1.png", "good", None, "test"),
        ("a/2.png", "good", None, ""),
    }


def test_a_split_that_cannot_be_written_leaves_the_old_one(
    index: DataIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split_csv(index, tmp_path / "split.csv")
    before = (tmp_path / "split.csv").read_bytes()
    monkeypatch.setattr("capsule_inspection.data.manifest._cells", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_split_csv(index, tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_bytes() == before
    assert not list(tmp_path.glob(".split.csv*"))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (
            "width",
            "24px",
            r"split\.csv, line 3, column width: expected a whole number, found '24px'",
        ),
        ("label", "", "line 3, column label: expected a whole number, found ''"),
        ("split", "testing", "line 3: the column split must be empty or one of"),
    ],
)
def test_a_damaged_split_names_line_and_column(
    index: DataIndex, tmp_path: Path, column: str, value: str, message: str
) -> None:
    path = tmp_path / "split.csv"
    write_split_csv(index, path)
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[1][column] = value
    write_table(path, rows)
    with pytest.raises(DataError, match=message):
        read_split_csv(path)


def test_a_split_without_a_column_or_cut_short_is_an_error(
    index: DataIndex, tmp_path: Path
) -> None:
    path = tmp_path / "split.csv"
    write_split_csv(index, path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("sha256", "hash"), encoding="utf-8")
    with pytest.raises(DataError, match="the column sha256 must be there; found index, path"):
        read_split_csv(path)
    path.write_text(text[:-30], encoding="utf-8")
    with pytest.raises(DataError, match="line 4: expected 12 values"):
        read_split_csv(path)


def test_a_missing_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split\.csv: there is no such file"):
        read_split_csv(tmp_path / "split.csv")
