import numpy as np
import pytest

from capsule_inspection.contracts import RunError
from capsule_inspection.reports.run_folder import read_run
from capsule_inspection.reports.run_maps import read_maps


def arrays(**changed) -> dict[str, np.ndarray]:
    whole = {
        "index": np.array([7, 3]),
        "maps": np.arange(2 * 4 * 6, dtype=np.float16).reshape(2, 4, 6),
        "masks": np.ones((2, 4, 6), np.uint8),
        "inside": np.array([[0, 0, 6, 4], [2, 1, 6, 3]], np.int32),
    }
    return {name: array for name, array in {**whole, **changed}.items() if array is not None}


def test_maps_are_handed_out_without_padding(tmp_path):
    np.savez_compressed(tmp_path / "maps.npz", **arrays())

    maps = read_maps(tmp_path / "maps.npz")

    row = maps.row_of(3)
    assert maps.map_of(row).tolist() == [[32, 33, 34, 35], [38, 39, 40, 41]]
    assert maps.map_of(row).dtype == np.float32
    assert maps.mask_of(row).shape == (2, 4)
    assert maps.share_inside(row) == (2 / 6, 1 / 4, 1.0, 3 / 4)
    assert maps.row_of(8) is None


def test_truth_and_marks_are_handed_out_without_padding(tmp_path):
    masks = np.arange(48, dtype=np.uint8).reshape(2, 4, 6)
    np.savez(tmp_path / "maps.npz", **arrays(masks=masks, marked=masks + np.uint8(1)))

    maps = read_maps(tmp_path / "maps.npz")

    row = maps.row_of(3)
    assert maps.truth_of(row).tolist() == [[32, 33, 34, 35], [38, 39, 40, 41]]
    assert maps.marked_of(row).tolist() == [[33, 34, 35, 36], [39, 40, 41, 42]]


def test_run_that_decides_of_no_pixels_has_no_marks(tmp_path):
    np.savez(tmp_path / "maps.npz", **arrays())

    maps = read_maps(tmp_path / "maps.npz")

    assert maps.marked is None
    assert maps.marked_of(0) is None


def test_run_without_maps_has_none(tmp_path):
    assert read_maps(tmp_path / "maps.npz") is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"masks": None}, "arrays missing: masks"),
        ({"masks": np.ones((2, 4, 5), np.uint8)}, r"masks \(2, 4, 5\)"),
        ({"marked": np.ones((2, 4, 5), np.uint8)}, r"marked \(2, 4, 5\)"),
        ({"marked": np.ones((1, 4, 6), np.uint8)}, r"marked \(1, 4, 6\)"),
        ({"marked": np.uint8(1)}, r"marked \(\)"),
        ({"marked": np.ones((2, 4, 6))}, "whole numbers in marked"),
        ({"index": np.array([1, 2, 3])}, r"index \(3,\)"),
        ({"inside": np.zeros((2, 3), np.int32)}, r"inside \(2, 3\)"),
        ({"index": np.array([1.0, 2.0])}, "whole numbers in index"),
        ({"index": np.array([7, 7])}, "twice"),
        ({"maps": np.full((2, 4, 6), np.nan, np.float16)}, "finite numbers in maps"),
        ({"inside": np.array([[0, 0, 7, 4]] * 2, np.int32)}, "boxes within 6 x 4"),
        ({"inside": np.array([[3, 0, 3, 4]] * 2, np.int32)}, "boxes within 6 x 4"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, changed, message):
    path = tmp_path / "maps.npz"
    np.savez(path, **arrays(**changed))

    with pytest.raises(RunError, match=message) as raised:
        read_maps(path)
    assert str(path) in str(raised.value)
    assert "evaluate.py" in str(raised.value)


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "maps.npz", **arrays(index=np.array([{}, {}], dtype=object)))

    with pytest.raises(RunError, match="cannot be read"):
        read_maps(tmp_path / "maps.npz")


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damaged_file_is_named_when_it_is_asked_for_and_not_before(anomaly_run, damage):
    path = anomaly_run / "maps.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    run = read_run(anomaly_run)

    with pytest.raises(RunError, match=r"maps\.npz: cannot be read"):
        _ = run.maps
