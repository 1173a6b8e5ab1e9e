from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from capsule_inspection.data.layouts import Entry
from capsule_inspection.data.manifest import list_manifest, read_split_csv, write_split_csv
from capsule_inspection.types import SPLIT_COLUMNS, DataError, DataIndex, ImageRecord

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
def test_a_table_is_listed_with_all_the_columns_it_has(photos: Path, name: str) -> None:
    listing = list_manifest(write_table(photos / name, ROWS), good_class="good")
    assert listing.root == photos
    assert listing.classes == ("good", "crack")
    assert listing.entries == (
        Entry("a/1.png", "good", None, "test", ""),
        Entry("b/1.png", "crack", "m/1.png", "train", "p7"),
    )
    others = [
        {"camera": 3, "path": "a/1.png", "label": "good", "class": "A"},
        {"camera": None, "path": "b/1.png", "label": "crack", "class": "B"},
    ]
    listing = list_manifest(write_table(photos / name, others), good_class="good")
    assert listing.entries == (Entry("a/1.png", "good"), Entry("b/1.png", "crack"))


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


def test_paths_are_relative_to_the_root_that_is_given(photos: Path, tmp_path: Path) -> None:
    for name in ("tables", "elsewhere"):
        (tmp_path / name).mkdir()
    table = write_table(tmp_path / "tables/a.csv", ROWS)
    assert list_manifest(table, root=photos, good_class="good").root == photos
    with pytest.raises(DataError, match=r"relative to .*tables \(data\.root\)"):
        list_manifest(table, good_class="good")
    absolute = (photos / "a/1.png").as_posix()
    table = write_table(photos / "t.csv", [{"path": absolute, "label": "good"}])
    for root, expected in ((tmp_path / "elsewhere", absolute), (photos, "a/1.png")):
        assert list_manifest(table, root=root, good_class="good").entries[0].path == expected


def test_byte_order_marks_blanks_commas_and_other_scripts_work(
    photos: Path, write_image: WriteImage
) -> None:
    (photos / "a.csv").write_bytes(
        b"\xef\xbb\xbfpath, label\r\na/1.png, good\r\nb/1.png,crack \r\n"
    )
    assert list_manifest(photos / "a.csv", good_class="good").classes == ("good", "crack")
    path = "膠囊 好, 1/ж ñ.png"
    write_image(photos / path)
    table = write_table(photos / "表.csv", [{"path": path, "label": "好"}])
    assert list_manifest(table, good_class="好").entries == (Entry(path, "好"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na/1.png,good\n", "the column path must be there; found file, label"),
        ("path;label\na/1.png;good\n", "Separate the columns with commas"),
        ("path,label,label\na/1.png,good,crack\n", "the columns label stand twice"),
        ("path,label\na/1.png,good\nb,1.png,crack\n", "line 3: expected 2 values, found another"),
        ('path,label\n"a/1.png,good\n', r"a\.csv, line 2: not valid CSV"),
        ("", "must be there; found none"),
        ("path,label\n", "the table has no rows"),
        ("path,label\na/1.png,ok\nb/1.png,bad\n", r"data\.good_class=good is not .*: bad, ok\."),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_with_its_line(
    photos: Path, content: str, message: str
) -> None:
    (photos / "a.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        list_manifest(photos / "a.csv", good_class="good")


def test_a_file_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more than this")
    write_table(tmp_path / "columns.parquet", [{"file": "a/1.png", "label": "good"}])
    write_table(tmp_path / "rows.parquet", [{"path": "a/9.png", "label": "good"}])
    for name, message in {
        "a.csv": r"a\.csv: there is no such file.*data\.path",
        "a.xlsx": r"expected a table named \.csv or \.parquet",
        "a.parquet": "cannot be read as Parquet",
        "columns.parquet": "the column path must be there; found file, label",
        "rows.parquet": r"row 1: there is no file a/9\.png",
    }.items():
        with pytest.raises(DataError, match=message):
            list_manifest(tmp_path / name, good_class="good")


@pytest.fixture
def index(photos: Path) -> DataIndex:
    """Index of the photos with a split, a mask and odd characters in a group."""

    def record(path: str, label: int, mask: str | None, split: str, group: str) -> ImageRecord:
        modified_ns = 1_700_000_000_123_456_789
        return ImageRecord(path, label, mask, "0" * 64, 24, 16, 1234, modified_ns, group, split)

    records = (
        record("b/1.png", 1, "m/1.png", "train", 'a "b", 膠囊'),
        record("a/1.png", 0, None, "test", "g"),
        record("a/2.png", 0, None, "", "g"),
    )
    return DataIndex(photos, ("good", "crack"), records)


@pytest.fixture
def split(index: DataIndex, tmp_path: Path) -> Path:
    """The index as a split.csv."""
    path = tmp_path / "run" / "split.csv"
    path.parent.mkdir()
    write_split_csv(index, path)
    return path


def test_a_split_comes_back_as_it_was_written(index: DataIndex, split: Path) -> None:
    rows = read_split_csv(split)
    assert tuple(row.to_record() for row in rows) == index.records
    assert [row.index for row in rows] == [0, 1, 2]
    assert [row.class_name for row in rows] == ["crack", "good", "good"]
    assert split.read_text(encoding="utf-8").splitlines()[0] == ",".join(SPLIT_COLUMNS)


def test_a_split_is_a_table_for_data_manifest(photos: Path, split: Path) -> None:
    listing = list_manifest(split, root=photos, good_class="good")
    assert listing.classes == ("good", "crack")
    assert {(e.path, e.class_name, e.mask, e.split) for e in listing.entries} == {
        ("b/1.png", "crack", "m/1.png", "train"),
        ("a/1.png", "good", None, "test"),
        ("a/2.png", "good", None, ""),
    }


def test_a_split_that_cannot_be_written_leaves_the_old_one(
    index: DataIndex, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = split.read_bytes()
    monkeypatch.setattr("capsule_inspection.data.manifest._cells", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_split_csv(index, split)
    assert split.read_bytes() == before
    assert list(split.parent.iterdir()) == [split]


def test_a_damaged_or_missing_split_is_an_error_that_names_line_and_column(split: Path) -> None:
    text = split.read_text(encoding="utf-8")
    whole = "line 3, column {}: expected a whole number, found '{}'"
    for damaged, message in (
        (text.replace("sha256", "hash"), "the column sha256 must be there; found index, path"),
        (text[:-30], "line 4: expected 12 values"),
        (text.replace("a/1.png,0,", "a/1.png,,"), whole.format("label", "")),
        (text.replace(",g,test", ",g,testing"), "line 3: the column split must be empty or one of"),
        (",24px,".join(text.rsplit(",24,", 2)), rf"split\.csv, {whole.format('width', '24px')}"),
    ):
        assert damaged != text
        split.write_text(damaged, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_split_csv(split)
    split.unlink()
    with pytest.raises(DataError, match=r"split\.csv: there is no such file"):
        read_split_csv(split)
