"""The pictures of a finished classification run, drawn from its files and written beside them.

Reads with `run_folder`, draws with `training`, `classification` and `mistakes`. What a run has no
data for is not drawn: without probabilities only the curves, without `test` no test pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.contracts import TEST, VAL, RunError, RunFiles
from capsule_inspection.metrics import names
from capsule_inspection.metrics.classification import confusion
from capsule_inspection.reports import classification, mistakes, style, training
from capsule_inspection.reports.run_folder import RunFolder, read_run

CURVES = "curves.png"
CONFUSION = "confusion_matrix.png"
CONFUSION_VAL = "confusion_matrix_val.png"
PRECISION_RECALL = "precision_recall.png"
RECALL_BY_CLASS = "recall_by_class.png"
WORST_MISTAKES = "worst_mistakes.png"

BEST_EPOCH = "best_epoch"
"""Field of run.json, marked in the curves where it is there."""


def write_run_pictures(run_folder: Path) -> tuple[Path, ...]:
    """Draw every picture that the run has data for; returns their paths, in the order drawn.

    Raises RunError where a file of the run is missing or broken.
    """
    run = read_run(run_folder)
    pictures = run_folder / RunFiles.PICTURES
    written = []
    if len(run.epochs):
        columns = {str(name): run.epochs[name].to_numpy() for name in run.epochs}
        figure = training.curves(columns, run.record.get(BEST_EPOCH))
        written.append(_save(figure, pictures / CURVES))
    if run.classes and VAL in run.stages():
        written.append(_save(_confusion(run, VAL), pictures / CONFUSION_VAL))
    if run.classes and TEST in run.stages():
        written += _write_test_pictures(run, pictures)
    return tuple(written)


def _write_test_pictures(run: RunFolder, pictures: Path) -> list[Path]:
    predictions, _ = run.arrays_of(TEST)
    recall = classification.recall_by_class(names.of_stage(run.figures, TEST))
    curve = classification.precision_recall(
        predictions.label, predictions.probabilities, run.classes
    )
    return [
        _save(_confusion(run, TEST), pictures / CONFUSION),
        _save(curve, pictures / PRECISION_RECALL),
        _save(recall, pictures / RECALL_BY_CLASS),
        _save(worst_mistakes_of(run, TEST), pictures / WORST_MISTAKES),
    ]


def _confusion(run: RunFolder, stage: str) -> Figure:
    predictions, prediction = run.arrays_of(stage)
    matrix = confusion(predictions.label, prediction, len(run.classes))
    title = f"{stage}: {np.trace(matrix)} of {matrix.sum()} images named correctly"
    return classification.confusion_matrix(matrix, run.classes, title)


def worst_mistakes_of(run: RunFolder, stage: str) -> Figure:
    """The worst mistakes of one part of the split, among the images with a thumbnail."""
    predictions, prediction = run.arrays_of(stage)
    thumbnails = _Thumbnails([run.image_path(index) for index in predictions.index])
    wrong = predictions.label != prediction
    shown = ~wrong | thumbnails.exist()
    if wrong.any() and not (wrong & shown).any():
        return style.message(f"{wrong.sum()} mistakes; the run kept no thumbnail of any of them.")
    return mistakes.worst_mistakes(
        thumbnails.where(shown),
        predictions.label[shown],
        prediction[shown],
        predictions.probabilities[shown],
        run.classes,
    )


class _Thumbnails(Sequence[np.ndarray]):
    """Images that are read when they are looked at: most never are."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def exist(self) -> np.ndarray:
        return np.array([path.is_file() for path in self.paths], dtype=bool)

    def where(self, rows: np.ndarray) -> _Thumbnails:
        return _Thumbnails([path for path, keep in zip(self.paths, rows, strict=True) if keep])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:  # type: ignore[override]
        from PIL import Image

        try:
            with Image.open(self.paths[row]) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise RunError(f"{self.paths[row]}: not a readable thumbnail ({error}).") from error


def _save(figure: Figure, path: Path) -> Path:
    style.save(figure, path)
    return path
