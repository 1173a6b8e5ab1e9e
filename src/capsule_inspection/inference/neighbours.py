"""Which training images look most like a new photograph to the network.

Kept with a run: a vector and a thumbnail of each training image. Arrays only, no torch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from capsule_inspection.files import whole_file
from capsule_inspection.types import RunError

MOST = 500
"""Training images that are kept, evenly chosen where there are more."""
THUMBNAIL_PX = 192
_SMALLEST_SPREAD = 1e-6


class Neighbour(NamedTuple):
    """A training image; `likeness` is the cosine of the angle between the vectors, 1 for equal.

    Shape: picture (h, w, 3) uint8.
    """

    path: str
    class_name: str
    likeness: float
    picture: np.ndarray


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The training images of a run.

    Shapes: vectors (T, D) float32; pictures (T, h, w, 3) uint8; paths and class_names of length T.
    """

    vectors: np.ndarray
    pictures: np.ndarray
    paths: Sequence[str]
    class_names: Sequence[str]

    def nearest(self, vector: np.ndarray, count: int) -> list[Neighbour]:
        """The most similar ones first. Each entry of the vectors counts by how much it varies."""
        centre, spread = self.vectors.mean(0), self.vectors.std(0) + _SMALLEST_SPREAD
        known, asked = (self.vectors - centre) / spread, (vector - centre) / spread
        lengths = np.linalg.norm(known, axis=1) * np.linalg.norm(asked) + _SMALLEST_SPREAD
        likeness = known @ asked / lengths
        return [
            Neighbour(
                self.paths[row], self.class_names[row], float(likeness[row]), self.pictures[row]
            )
            for row in np.argsort(-likeness, kind="stable")[:count]
        ]


def write_neighbours(path: Path, neighbours: Neighbours) -> None:
    """Write what `read_neighbours` reads."""
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            vectors=neighbours.vectors.astype(np.float16),
            pictures=neighbours.pictures,
            paths=np.array(neighbours.paths, dtype=np.str_),
            class_names=np.array(neighbours.class_names, dtype=np.str_),
        )


def read_neighbours(path: Path) -> Neighbours:
    """Read neighbours.npz. Raises RunError where it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return Neighbours(
                stored["vectors"].astype(np.float32),
                stored["pictures"],
                stored["paths"].tolist(),
                stored["class_names"].tolist(),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: cannot be read ({error}). Restore it, or remove it.") from error
