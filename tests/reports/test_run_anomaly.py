"""Pictures of one-class runs: each that there is data for, whatever is missing."""

import pytest
from drawn_runs import draw_anomaly_run
from PIL import Image

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.run_anomaly import examples_file_names
from capsule_inspection.reports.run_pictures import write_run_pictures

SCORES = {"curves.png", "scores.png", "scores_by_class.png", "recall_by_class.png"}
EXAMPLES = {"examples.png", "examples_good.png", "examples_crack.png", "examples_poke.png"}
ALL = SCORES | EXAMPLES | {"roc.png", "pro.png"}


def drawn(folder) -> set[str]:
    return {path.name for path in write_run_pictures(folder)}


def test_every_picture_is_written_and_equal_to_the_byte_when_drawn_again(anomaly_run):
    first = {path.name: path.read_bytes() for path in write_run_pictures(anomaly_run)}

    written = write_run_pictures(anomaly_run)

    assert {path.name: path.read_bytes() for path in written} == first
    assert set(first) == ALL
    for path in written:
        with Image.open(path) as picture:
            assert min(picture.size) > 100


@pytest.mark.parametrize(
    ("changed", "absent"),
    [
        ({"masks": False}, {"pro.png"}),
        ({"maps": False}, {"pro.png"}),
        ({"thumbnails": False}, set()),
        ({"reconstructions": False}, set()),
        ({"maps": False, "thumbnails": False}, {"pro.png", *EXAMPLES}),
        ({"images": (12,)}, {"pro.png", "roc.png", "examples_crack.png", "examples_poke.png"}),
        ({"images": (0, 1, 1)}, {"pro.png", "roc.png", "examples_good.png"}),
        ({"calibration": 0}, set()),
    ],
)
def test_what_there_is_no_data_for_is_not_drawn(tmp_path, changed, absent):
    assert drawn(draw_anomaly_run(tmp_path / "run", **changed)) == ALL - absent


def test_odd_class_names_give_files_that_any_disk_takes(tmp_path):
    names = ("good", "../<b>a/b</b>", "膠囊 $x$")
    files = drawn(draw_anomaly_run(tmp_path / "run", classes=names))

    assert {"examples_1_b_a_b_b.png", "examples_2_x.png"} <= files


def test_file_names_tell_every_class_apart():
    names = ["good", "GOOD", "膠囊", "a b", "a_b", "x" * 99]

    files = list(examples_file_names(names).values())

    assert len({file.lower() for file in files}) == len(names)
    assert all(len(file) < 70 for file in files)


def test_damaged_maps_are_named(anomaly_run):
    (anomaly_run / "maps.npz").write_bytes(b"no archive")

    with pytest.raises(RunError, match=r"maps\.npz: cannot be read"):
        write_run_pictures(anomaly_run)


def test_broken_thumbnail_is_named(anomaly_run):
    for path in (anomaly_run / "images").iterdir():
        path.write_bytes(b"no image")

    with pytest.raises(RunError, match="not a readable thumbnail"):
        write_run_pictures(anomaly_run)
