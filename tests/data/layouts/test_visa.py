"""Categories of VisA, with the split of split_csv or without."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_folders import write_images

from capsule_inspection.data.layouts.samples import FoundSamples, LayoutSettings
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.data.layouts.visa import find_visa_samples
from capsule_inspection.types import DataError

NORMAL = [f"Data/Images/Normal/{number:04d}.JPG" for number in range(3)]
ANOMALY = [f"Data/Images/Anomaly/{number:03d}.JPG" for number in range(2)]
MASKS = [f"Data/Masks/Anomaly/{number:03d}.png" for number in range(2)]


def find(root: Path, **settings: object) -> FoundSamples:
    return find_visa_samples(scan_tree(root), LayoutSettings(**settings))  # type: ignore[arg-type]


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    """Two categories, with split_csv/1cls.csv."""
    root, rows = tmp_path / "VisA", ["object,split,label,image,mask"]
    for name in ("candle", "pcb1"):
        write_images(root / name, NORMAL)
        write_images(root / name, ANOMALY, defect=True, masks=MASKS)
        (root / name / "image_anno.csv").touch()
        for path, split in zip(NORMAL, ("train", "train", "test"), strict=True):
            rows.append(f"{name},{split},normal,{name}/{path},")
        rows += [
            f"{name},test,anomaly,{name}/{path},{name}/{mask}"
            for path, mask in zip(ANOMALY, MASKS, strict=True)
        ]
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows) + "\n")
    return root


def test_a_category_is_read_with_the_split_of_its_table(visa: Path) -> None:
    found = find(visa, category="candle")
    assert found.root == visa / "candle"
    assert found.classes == ("normal", "anomaly")
    assert found.mask_rules.binary
    assert {sample.path: (sample.split, sample.mask) for sample in found.samples} == {
        NORMAL[0]: ("train", None),
        NORMAL[1]: ("train", None),
        NORMAL[2]: ("test", None),
        ANOMALY[0]: ("test", MASKS[0]),
        ANOMALY[1]: ("test", MASKS[1]),
    }
    assert find(visa / "candle") == found
    assert "image_anno.csv" in found.other_files


def test_a_category_without_a_table_has_no_split(visa: Path) -> None:
    (visa / "split_csv/1cls.csv").unlink()
    found = find(visa / "pcb1")
    assert {sample.split for sample in found.samples} == {""}
    assert [sample.mask for sample in found.samples if sample.mask] == MASKS
    assert found.layout == "VisA, one category without a split"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, r"category=null: .* Set data\.category to one of candle, pcb1"),
        ({"category": "cashew"}, r"data\.category=cashew: .* one of candle, pcb1"),
    ],
)
def test_the_category_must_be_clear(visa: Path, settings: dict[str, object], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        find(visa, **settings)


def test_missing_files_and_damaged_tables_are_refused(visa: Path) -> None:
    (visa / "candle" / NORMAL[0]).unlink()
    with pytest.raises(DataError, match=rf"1cls\.csv: 1 of .*missing:\n  candle/{NORMAL[0]}"):
        find(visa / "candle")
    (visa / "split_csv/1cls.csv").write_text("object,image\ncandle,0\n")
    with pytest.raises(DataError, match=r"with the columns object, split, .*cannot be read"):
        find(visa / "candle")
    with pytest.raises(DataError, match=r"subfolders Images, Masks\. .*use data=mvtec"):
        find(visa / "candle/Data")
