"""`convert.py`, and training on what it has written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from annotation_files import write_json
from image_folders import draw_part, save_pixels
from quick import QUICK, check_error, content, record_of, rows_of
from small import Cli

PARTS = 18
NAMES = ("small scratch", "poke")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """COCO with 6 good images, 6 with a scratch and 6 with a poke."""
    root = tmp_path / "parts"
    images, annotations = [], []
    for key in range(PARTS):
        pixels, mask = draw_part(key, defect=key >= 6)
        save_pixels(root / "images" / f"{key}.png", pixels)
        height, width = mask.shape
        images.append({"id": key, "file_name": f"{key}.png", "width": width, "height": height})
        if key >= 6:
            rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
            x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            corners = [int(value) for value in (x0, y0, x1, y0, x1, y1, x0, y1)]
            annotation = {"image_id": key, "segmentation": [corners], "iscrowd": 0}
            annotations.append({"id": key, "category_id": 1 + key % 2, **annotation})
    names = [{"id": key, "name": name} for key, name in enumerate(NAMES, 1)]
    document = {"images": images, "annotations": annotations, "categories": names}
    write_json(root / "labels.json", document)
    return root


def test_a_converted_data_set_is_trained_on_as_the_command_says(
    cli: Cli, labelled: Path, tmp_path: Path
):
    output = tmp_path / "converted"
    done = cli("convert", f"input={labelled}", f"output={output}")
    assert done.status == 0, done.err
    assert "format=auto: read as format=coco" in done.out
    assert sorted(path.name for path in output.iterdir()) == ["images.csv", "masks"]
    rows = rows_of(output, "images.csv")
    assert len(rows) == PARTS
    assert rows[0] == {"path": "../parts/images/0.png", "label": "good", "mask": ""}
    masks = {row["mask"] for row in rows} - {""}
    assert len(masks) == 12
    assert all((output / mask).is_file() for mask in masks)
    (line,) = [line for line in done.out.splitlines() if line.startswith("Train: ")]
    given = [word for word in shlex.split(line) if word.startswith("data")]
    assert any(word.startswith("data.mask_values={1: poke, 2: ") for word in given)
    run = tmp_path / "run"
    trained = cli(
        "train", *QUICK, *given, f"data.cache_folder={tmp_path / 'cache'}", f"hydra.run.dir={run}"
    )
    assert trained.status == 0, trained.err
    found = rows_of(run, "split.csv")
    assert {row["class"]: row["label"] for row in found} == {
        "good": "0",
        "poke": "1",
        "small scratch": "2",
    }
    assert sum(row["mask"] != "" for row in found) == 12
    assert record_of(run)["status"] == "finished"


def test_what_is_refused_leaves_nothing_behind(cli: Cli, labelled: Path, tmp_path: Path):
    output = tmp_path / "converted"
    wanted = (f"input={labelled}", f"output={output}")
    check_error(cli("convert", *wanted, "format=yolo"), "expected a data.yaml with names")
    check_error(cli("convert", *wanted, "data.class_map={dent: poke}"), "names the class dent")
    check_error(cli("convert", *wanted, "format=coca"), "format=coca: not a choice", status=2)
    check_error(cli("convert", *wanted, "data.mask_ignore=255"), "no meaning", status=2)
    missing = cli("convert", f"input={tmp_path / 'gone'}", f"output={output}")
    check_error(missing, "there is no such folder", "Set input to one")
    assert not output.exists()
    assert not list(tmp_path.glob(".*"))
    (output / "notes.txt").parent.mkdir()
    (output / "notes.txt").write_text("mine")
    before = content(output)
    check_error(cli("convert", *wanted), "Nothing is overwritten: name another folder")
    assert content(output) == before


def test_a_killed_command_is_repeated_and_one_that_was_killed_at_its_end_is_finished(
    cli: Cli, labelled: Path, tmp_path: Path
):
    output = tmp_path / "converted"
    wanted = (f"input={labelled}", f"output={output}")
    (tmp_path / ".converted.killed.part" / "masks").mkdir(parents=True)
    for _ in range(2):
        result = cli("convert", *wanted)
        assert result.status == 0, result.err
        assert not list(tmp_path.glob(".*"))
    before = content(output)
    result = cli("convert", *wanted, "data.class_map={'small scratch': poke}")
    check_error(result, "Nothing is overwritten: name another folder")
    assert content(output) == before
