"""The private folder of the page."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest
from omegaconf import DictConfig

from capsule_inspection.workflows.app_uploads import Uploads, private_folder


def test_a_prediction_that_still_runs_leaves_no_file_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = DictConfig({"max_disk_mb": 8, "max_upload_mb": 1})

    def write() -> None:
        try:
            for _ in range(500):
                uploads.keep(b"picture", "overlay.png")
                has_begun.set()
        except OSError:  # the folder is gone
            pass

    for _ in range(5):
        has_begun = threading.Event()
        with private_folder() as folder:
            uploads = Uploads(folder, config)
            writer = threading.Thread(target=write)
            writer.start()
            assert has_begun.wait(timeout=30)
        writer.join()
        assert list(tmp_path.iterdir()) == []


def test_a_file_is_kept_under_a_safe_name_in_a_folder_of_its_own(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, DictConfig({"max_disk_mb": 8, "max_upload_mb": 1}))
    paths = [uploads.keep(b"picture", "../../a\0.png") for _ in range(2)]
    assert all(path.read_bytes() == b"picture" for path in paths)
    assert [path.name for path in paths] == ["a.png"] * 2
    assert len({path.parent for path in paths}) == 2
    assert all(uploads.has(str(path)) for path in paths)
    assert not uploads.has("a\0b")
    assert not uploads.has(str(paths[0].parent))
