from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples, LayoutSettings
from capsule_inspection.data.manifest import find_manifest_samples, read_split, write_split_csv
from capsule_inspection.types import (
    SPLIT_COLUMNS,
    ConfigurationError,
    DataError,
    DataIndex,
    Sample,
)

WriteImage = Callable[..., Path]
ROWS = [
    {"path": "b/1.png", "label": "crack", "mask": "m/1.png", "split": "train", "group": "p7"},
    {"path": "a/1.png", "label": "good", "mask": "", "split": "test", "group": ""},
]


def find_in(path: Path, *, root: Path | None = None, **settings: Any) -> FoundSamples:
    return find_manifest_samples(path, LayoutSettings(**settings), root=root)


@pytest.fixture
def images(tmp_path: Path, write_image: WriteImage, write_mask: WriteImage) -> Path:
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


def test_parts_with_images_of_several_classes_are_reported(images: Path) -> None:
    rows = [
        {"path": "a/1.png", "label": "good", "serial": "000"},
        {"path": "a/2.png", "label": "good", "serial": "001"},
        {"path": "b/1.png", "label": "crack", "serial": "000"},
    ]
    found = find_in(write_table(images / "parts.csv", rows))
    assert any("serial: 1 of 2 parts have images of several" in text for text in found.warnings)
    found = find_in(write_table(images / "parts.csv", rows[1:]))
    assert not any("several classes" in text for text in found.warnings)


@pytest.mark.parametrize("name", ["parts.csv", "parts.parquet"])
def test_a_table_is_listed_with_all_the_columns_it_has(images: Path, name: str) -> None:
    found = find_in(write_table(images / name, ROWS))
    assert found.root == images
    assert found.classes == ("good", "crack")
    assert found.samples == (
        FoundSample("a/1.png", "good", None, "test", ""),
        FoundSample("b/1.png", "crack", "m/1.png", "train", "p7"),
    )


def test_all_faults_are_named_at_once_with_their_lines(images: Path) -> None:
    (images / "a.csv").write_text(
        "path,label,mask,split\n"
        "a/1.png,good,,\n"
        "\n"
        "a/9.png,good,,\n"
        "a/2.png,,,\n"
        "b/1.png,crack,m/9.png,third\n"
        ",good,,\n"
        "a/1.png,crack,,\n"
    )
    with pytest.raises(DataError) as caught:
        find_in(images / "a.csv")
    message = str(caught.value)
    assert "6 faults" in message
    for fault in (
        "line 4: there is no file a/9.png",
        "line 5: the column label is empty",
        "line 6: there is no mask m/9.png",
        "line 6: the column split must be empty or one of train, val, test, calibration; found",
        "line 7: the column path is empty",
        "line 8: a/1.png repeats line 2",
    ):
        assert fault in message


def test_many_faults_are_counted_and_twenty_shown(images: Path) -> None:
    rows = [{"path": f"x/{i}.png", "label": "good"} for i in range(30)]
    with pytest.raises(DataError, match="30 faults") as caught:
        find_in(write_table(images / "a.csv", rows))
    assert "x/19.png" in str(caught.value)
    assert "x/20.png" not in str(caught.value)
    assert "and 10 more" in str(caught.value)


def test_paths_are_relative_to_the_root_that_is_given(images: Path, tmp_path: Path) -> None:
    for name in ("tables", "elsewhere"):
        (tmp_path / name).mkdir()
    table = write_table(tmp_path / "tables/a.csv", ROWS)
    assert find_in(table, root=images).root == images
    with pytest.raises(DataError, match=r"relative to .*tables \(data\.root\)"):
        find_in(table)
    absolute = (images / "a/1.png").as_posix()
    table = write_table(images / "t.csv", [{"path": absolute, "label": "good"}])
    for root, expected in ((tmp_path / "elsewhere", absolute), (images, "a/1.png")):
        assert find_in(table, root=root).samples[0].path == expected


def test_names_in_other_scripts_work(images: Path, write_image: WriteImage) -> None:
    path = "膠囊 好, 1/ж ñ.png"
    write_image(images / path)
    table = write_table(images / "表.csv", [{"path": path, "label": "好"}])
    assert find_in(table, good_class="好").samples == (FoundSample(path, "好"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,label\na/1.png,good\n", r"a\.csv: the column path must be there; found id, label"),
        ("path,label\n", "the table has no rows"),
        ("path,label\na/1.png,ok\nb/1.png,bad\n", r"data\.good_class=fine is not .*: bad, ok\."),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error_with_its_line(
    images: Path, content: str, message: str
) -> None:
    (images / "a.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        find_in(images / "a.csv", good_class="fine")


def test_a_file_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more than this")
    write_table(tmp_path / "rows.parquet", [{"path": "a/9.png", "label": "good"}])
    for name, message in {
        "a.csv": r"a\.csv: there is no such file\. Name a CSV",
        "a.parquet": "cannot be read as Parquet",
        "rows.parquet": r"row 1: there is no file a/9\.png",
    }.items():
        with pytest.raises(DataError, match=message):
            find_in(tmp_path / name)


def test_a_file_under_two_spellings_or_through_a_link_is_a_repetition(images: Path) -> None:
    (images / "link").symlink_to(images / "a")
    rows = ("a/1.png", "./a/1.png", "b/../a/1.png", "a\\1.png", "link/1.png")
    (images / "a.csv").write_text("\n".join(["path,label", *(f"{row},good" for row in rows)]))
    with pytest.raises(DataError, match=r"(?s)4 faults.*line 6: link/1\.png repeats line 2"):
        find_in(images / "a.csv")


def test_tables_of_spreadsheets_are_read_and_it_is_said_what_was_taken(
    images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (images / "a.csv").write_bytes(
        "Dateiname;Image;Class;Mask Path;Set;Operator\r\n"
        "1;a\\1.png; good ;;Training;x\r\n"
        "2;b\\1.png;geprüft;m\\1.png|m/1.png;Validation;x\r\n".encode("utf-16")
    )
    with caplog.at_level("INFO"):
        found = find_in(images / "a.csv")
    assert found.samples == (
        FoundSample("a/1.png", "good", None, "train"),
        FoundSample("b/1.png", "geprüft", "m/1.png|m/1.png", "val"),
    )
    assert (found.layout, found.other_files) == ("a table", {"a.csv"})
    assert "Image -> path, Class -> label, Mask Path -> mask, Set -> split" in caplog.text
    assert "not used: Dateiname, Operator" in caplog.text
    assert "backslashes in paths are read as /" in caplog.text


FOREIGN = (
    "Bilddatei;Fehlerart;Maske;Aufteilung;Seriennummer;Operator\n"
    "a/1.png;good;;Training;4711;x\n"
    "a/2.png;good;;Test;4711;y\n"
    "b/1.png;crack;m/1.png;Training;4712;x\n"
)
REQUIRED = {"path": "Bilddatei", "label": "fehlerart"}


def find_foreign(images: Path, **columns: str | None) -> FoundSamples:
    (images / "a.csv").write_text(FOREIGN)
    return find_manifest_samples(
        images / "a.csv", LayoutSettings(), columns={**REQUIRED, **columns}
    )


def test_columns_that_are_not_used_and_may_be_needed_are_warned_of(images: Path) -> None:
    found = find_foreign(images)
    assert [sample.mask for sample in found.samples] == [None, None, None]
    assert found.warnings == (
        "The column Maske is not used, and names image files, such as m/1.png; these may be masks. "
        'If it has the masks, set "data.columns={mask: Maske}".',
        "The column Aufteilung is not used, and has names of splits (Test, Training). "
        'If it has the splits, set "data.columns={split: Aufteilung}".',
        "The column Seriennummer is not used, and seems to tell parts apart, such as 4711. "
        'If it has the groups, set "data.columns={group: Seriennummer}".',
    )


def test_columns_are_those_that_are_given(images: Path) -> None:
    columns = {"mask": "Maske", "split": "Aufteilung", "group": "Seriennummer"}
    found = find_foreign(images, **columns)
    assert found.warnings == ()
    assert found.samples == (
        FoundSample("a/1.png", "good", None, "train", "4711"),
        FoundSample("a/2.png", "good", None, "test", "4711"),
        FoundSample("b/1.png", "crack", "m/1.png", "train", "4712"),
    )
    assert find_foreign(images, **dict.fromkeys(columns)).warnings == ()  # none is wanted


def test_a_kind_or_column_that_is_not_there_is_refused_with_what_there_is(images: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"columns: msk is no .*path, label, mask, split"):
        find_foreign(images, msk="Maske")
    with pytest.raises(DataError, match=r"\{mask: M\}: there is no column M; found Bild.*Operator"):
        find_foreign(images, mask="M")
    with pytest.raises(DataError, match=r'must be there.*"data\.columns=\{path: <column>, label'):
        find_in(images / "a.csv")


def test_masks_may_be_folders_and_missing_parts_are_named(images: Path) -> None:
    table = images / "a.csv"
    table.write_text("path,label,mask\na/1.png,good,\nb/1.png,crack,m\n")
    assert find_in(table).samples[1].mask == "m"
    table.write_text("path,label,mask\na/1.png,good,\nb/1.png,crack,m/1.png|m/2.png\n")
    with pytest.raises(DataError, match=r"(?s)1 fault;.*line 3: there is no mask m/2\.png\n"):
        find_in(table)


def test_excluded_rows_are_left_out_even_if_their_files_are_missing(images: Path) -> None:
    table = write_table(images / "a.csv", [*ROWS, {**ROWS[0], "path": "gone/1.png"}])
    found = find_manifest_samples(table, LayoutSettings(), exclude=["gone", "b/*.png"])
    assert [sample.path for sample in found.samples] == ["a/1.png"]


def test_numbers_without_names_are_classes_where_the_good_one_is_told(images: Path) -> None:
    (images / "a.csv").write_text("path,label\na/1.png,0\nb/1.png,1\n")
    assert find_in(images / "a.csv", good_class="0").classes == ("0", "1")
    with pytest.raises(DataError, match=r"of 0, 1 none has a usual name.*data\.good_class"):
        find_in(images / "a.csv")


def test_labels_that_are_no_names_are_refused(images: Path) -> None:
    (images / "a.csv").write_text("path,label\na/1.png,good\nb/1.png,a\tb\n")
    with pytest.raises(DataError, match="has control characters"):
        find_in(images / "a.csv")


@pytest.fixture
def index(images: Path) -> DataIndex:
    """Index of the images with a split, a mask and odd characters in a group."""

    def sample(path: str, label: int, mask: str | None, split: str, group: str) -> Sample:
        modified_ns = 1_700_000_000_123_456_789
        return Sample(path, label, mask, "0" * 64, 24, 16, 1234, modified_ns, group, split)

    samples = (
        sample("b/1.png", 1, "m/1.png", "train", 'a "b", 膠囊'),
        sample("a/1.png", 0, None, "test", "g"),
        sample("a/2.png", 0, None, "", "g"),
    )
    return DataIndex(images, ("good", "crack"), samples)


@pytest.fixture
def split(index: DataIndex, tmp_path: Path) -> Path:
    """The index as a split.csv."""
    path = tmp_path / "run" / "split.csv"
    path.parent.mkdir()
    write_split_csv(index, path)
    return path


def test_a_split_comes_back_as_it_was_written(index: DataIndex, split: Path) -> None:
    assert read_split(split) == [(s.path, s.sha256, s.split) for s in index.samples]
    with split.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == SPLIT_COLUMNS
    assert [row["index"] for row in rows] == ["0", "1", "2"]
    assert [row["class"] for row in rows] == ["crack", "good", "good"]
    for row, sample in zip(rows, index.samples, strict=True):
        for name, value in asdict(sample).items():
            assert name == "mask_sha256" or row[name] == str(
                value or ("" if value is None else value)
            )


def test_a_split_is_a_table_for_data_manifest(images: Path, split: Path) -> None:
    found = find_in(split, root=images)
    assert found.classes == ("good", "crack")
    assert {(e.path, e.class_name, e.mask, e.split) for e in found.samples} == {
        ("b/1.png", "crack", "m/1.png", "train"),
        ("a/1.png", "good", None, "test"),
        ("a/2.png", "good", None, ""),
    }


def test_splits_in_other_words_and_spellings_are_read(images: Path) -> None:
    path = images / "split.csv"
    path.write_text("file;subset\n.\\a\\1.png;Training\na/2.png;dev\nb/1.png;\nold.png;TEST\n")
    assert [(row.path, row.split) for row in read_split(path, root=images)] == [
        ("a/1.png", "train"),
        ("a/2.png", "val"),
        ("b/1.png", ""),
        ("old.png", "test"),
    ]


def test_a_split_that_cannot_be_written_leaves_the_old_one(
    index: DataIndex, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = split.read_bytes()
    monkeypatch.setattr("capsule_inspection.data.manifest._cells", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_split_csv(index, split)
    assert split.read_bytes() == before
    assert list(split.parent.iterdir()) == [split]


def test_a_damaged_split_is_an_error_that_names_the_line(split: Path) -> None:
    text = split.read_text(encoding="utf-8")
    for damaged, message in (
        (text[:-30], "line 4: expected 12 values"),
        (text.replace(",g,test", ",g,third"), "line 3: the column split must be empty or one of"),
    ):
        assert damaged != text
        split.write_text(damaged, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            read_split(split)
