"""Training images with the most similar embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capsule_inspection.inference.embeddings import (
    TrainingEmbeddings,
    load_embeddings,
    save_embeddings,
)
from capsule_inspection.types import RunError

KNOWN = TrainingEmbeddings(
    np.array([[0, 0, 1], [4, 400, 0], [0, 800, 2]], np.float32),
    np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3),
    ["a.png", "b.png", "膠囊.png"],
    ["good", "poke", "good"],
)


def test_a_training_image_is_most_similar_to_itself() -> None:
    for row in range(3):
        first, *others = KNOWN.nearest(KNOWN.vectors[row], 2)
        assert (first.path, first.class_name) == (KNOWN.paths[row], KNOWN.class_names[row])
        assert first.similarity == pytest.approx(1, abs=1e-4)
        assert np.array_equal(first.picture, KNOWN.pictures[row])
        assert len(others) == 1
        assert others[0].similarity < first.similarity


def test_entries_of_a_large_scale_weigh_no_more_than_small_ones() -> None:
    most_similar = KNOWN.nearest(np.array([4, 0, 0], np.float32), 3)
    assert most_similar[0].path == "b.png"  # by its first entry, though the second is 400 away


def test_embeddings_are_equal_after_a_file_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    save_embeddings(path, KNOWN)
    read = load_embeddings(path)
    assert np.array_equal(read.vectors, KNOWN.vectors)
    assert np.array_equal(read.pictures, KNOWN.pictures)
    assert (read.paths, read.class_names) == (KNOWN.paths, KNOWN.class_names)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"embeddings\.npz: cannot be read"):
        load_embeddings(path)
