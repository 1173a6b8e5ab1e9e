"""Training images with the most similar embeddings.

A run keeps an embedding and a thumbnail of each training image. Arrays only, no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from capsule_inspection.arrays import Layout, read_arrays
from capsule_inspection.files import atomic_write

MAX_IMAGES = 500
"""Training images that are kept; of more a selection at equal distances."""
THUMBNAIL_PX = 192
_EPSILON = 1e-6
_LAYOUTS = {
    "vectors": Layout("f", ("images", "values")),
    "pictures": Layout("u", ("images", "height", "width", 3)),
    "paths": Layout("U", ("images",)),
    "class_names": Layout("U", ("images",)),
}
_LIMITS = {"images": MAX_IMAGES, "values": 65536, "height": THUMBNAIL_PX, "width": THUMBNAIL_PX}


class SimilarImage(NamedTuple):
    """A training image; `similarity` is the cosine of the angle between the vectors, 1 for equal.

    Shape: picture (h, w, 3) uint8.
    """

    path: str
    class_name: str
    similarity: float
    picture: np.ndarray


@dataclass(frozen=True, eq=False)
class TrainingEmbeddings:
    """The training images of a run.

    Shapes: vectors (T, D) float32; pictures (T, h, w, 3) uint8; paths and class_names of length T.
    """

    vectors: np.ndarray
    pictures: np.ndarray
    paths: Sequence[str]
    class_names: Sequence[str]

    def nearest(self, vector: np.ndarray, count: int) -> list[SimilarImage]:
        """The most similar ones first. Vectors are standardized first."""
        mean, std = self.vectors.mean(0), self.vectors.std(0) + _EPSILON
        known, query = (self.vectors - mean) / std, (vector - mean) / std
        lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(query) + _EPSILON
        similarity = known @ query / lengths
        return [
            SimilarImage(
                self.paths[row], self.class_names[row], float(similarity[row]), self.pictures[row]
            )
            for row in np.argsort(-similarity, kind="stable")[:count]
        ]


def save_embeddings(path: Path, neighbours: TrainingEmbeddings) -> None:
    """Write what `load_embeddings` reads."""
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            vectors=neighbours.vectors.astype(np.float16),
            pictures=neighbours.pictures,
            paths=np.array(neighbours.paths, dtype=np.str_),
            class_names=np.array(neighbours.class_names, dtype=np.str_),
        )


def load_embeddings(path: Path) -> TrainingEmbeddings:
    """Read embeddings.npz. Raises RunError where it is damaged."""
    remedy = "Restore it, or remove it."
    stored = read_arrays(path, _LAYOUTS, limits=_LIMITS, remedy=remedy)
    return TrainingEmbeddings(
        stored["vectors"].astype(np.float32),
        stored["pictures"],
        stored["paths"].tolist(),
        stored["class_names"].tolist(),
    )
