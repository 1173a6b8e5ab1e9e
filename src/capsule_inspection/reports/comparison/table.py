"""The predictions of all compared runs: a table for each model, with a row for each image and run.

Runs that differ in seed or fold only are one model. Of models that name defects only the images
count that every seed predicted, each once for a seed. Others keep all rows: a defect may be in the
test split of every fold, and the scores of different trainings have no common scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from capsule_inspection.config.quoting import format_command
from capsule_inspection.metrics.segmentation import pixel_confusion_matrices
from capsule_inspection.metrics.target_masks import limit_classes
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.run.files import PROBABILITY
from capsule_inspection.reports.run.maps import RunMaps
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import DEFECT, TEST, VAL, RunError, RunFiles

NO_FOLD = -1
"""Fold of a run whose split has no folds."""


@dataclass(frozen=True)
class MaskCounts:
    """Pixel confusion matrices of the predicted masks, one for each image.

    `classes` are C names, the normal class first; one defect class where the model does not tell
    defects apart. Shapes, for S seeds and the N images of the model: counts (S, N, C, C) int64,
    rows are true classes; known (S, N) bool, whether predicted and target mask are both there.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    known: np.ndarray
    runs_without_masks: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every run kept its predicted masks, of images that count."""
        return not self.runs_without_masks and bool(self.known.any(axis=1).all())


@dataclass(frozen=True, eq=False)
class ModelRuns:
    """The runs of one model and their predictions of the test images.

    `classes` begin with the normal class. `stage` is test, or val where a run has no test split.
    `rows` has a row for each image and run: run (position in `runs`), fold (`NO_FOLD` without
    folds), seed, image_id (SHA-256 and a number, equal on all machines), group (never empty; images
    of one group are one observation), index (into the run's data index), label, is_defect,
    predicted_label, predicted_defect, score (finite, high for defects), correct (right class;
    without class probabilities, right decision between good and defect) and p_<class>.
    `num_dropped` images are left out because not every seed predicted them.
    """

    name: str
    runs: tuple[RunFolder, ...]
    classes: tuple[str, ...]
    stage: str
    rows: pd.DataFrame
    num_dropped: int = 0

    @property
    def task(self) -> str:
        return str(self.runs[0].record.get("task", "unknown"))

    @property
    def normal_class(self) -> str:
        """Name of the class without defects."""
        return self.classes[0]

    @property
    def names_defects(self) -> bool:
        """Whether the runs hold class probabilities."""
        return bool(self.runs[0].classes)

    @property
    def has_masks(self) -> bool:
        """Whether the runs predict a class for each pixel."""
        return self.runs[0].has_masks

    @property
    def is_optimistic(self) -> bool:
        """Whether the compared images also selected the epoch or trained the model."""
        return self.stage != TEST or any(bool(run.record.get("optimistic")) for run in self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({get_seed(run) for run in self.runs}))

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of its runs; (`NO_FOLD`,) without folds."""
        return tuple(dict.fromkeys(map(get_fold, self.runs)))

    @property
    def thresholds(self) -> list[Threshold]:
        """The thresholds of its runs that decide by one.

        Raises RunError where one is not as expected.
        """
        found = [run.threshold for run in self.runs]
        return [of for of in found if of is not None and of.value is not None]

    @property
    def has_groups(self) -> bool:
        """Whether some of its images belong together."""
        return bool(self.images["group"].duplicated().any())

    @cached_property
    def images(self) -> pd.DataFrame:
        """A row for each image, by image_id, in order of appearance.

        Columns: label, is_defect, group; correct and rejected are fractions of its predictions.
        """
        return self.rows.groupby("image_id", sort=False).agg(
            label=("label", "first"),
            is_defect=("is_defect", "first"),
            group=("group", "first"),
            correct=("correct", "mean"),
            rejected=("predicted_defect", "mean"),
        )

    def rows_of_run(self, run: int) -> pd.DataFrame:
        """The rows of one run, by its position in `runs`."""
        return self.rows[self.rows["run"] == run]

    @cached_property
    def mask_counts(self) -> MaskCounts | None:
        """The pixel confusion matrices of all its runs; None where it predicts no masks.

        Where folds of a seed share an image the first counts, as for its predicted label. Raises
        RunError where maps of a run are damaged or have classes that the run does not have.
        """
        return _count_masks(self) if self.has_masks else None


def get_seed(run: RunFolder) -> int:
    """The seed of a training."""
    return int(run.record.get("seed", 0))


def get_fold(run: RunFolder) -> int:
    """The fold that is the test split of a run; `NO_FOLD` where the split has no folds."""
    fold = run.settings.get(settings.FOLD)
    if fold is not None and not isinstance(fold, int):
        raise RunError(
            f"{run.path / RunFiles.CONFIG}: expected an integer or null as {settings.FOLD}, found "
            f"{fold!r}. Restore the file, or leave the run out."
        )
    return NO_FOLD if fold is None else fold


def read_models(runs: Sequence[RunFolder]) -> list[ModelRuns]:
    """The models of a comparison, in the order of their first runs.

    Raises RunError where a run has no predictions, its scores are not finite, or the groups of
    two runs contradict each other.
    """
    members = _split_by_model(runs)
    names = settings.model_names([settings.model_settings(of_model[0]) for of_model in members])
    models = [_read_model(name, of_model) for name, of_model in zip(names, members, strict=True)]
    group_of = _join_groups(models)
    return [
        replace(model, rows=model.rows.assign(group=model.rows["image_id"].map(group_of)))
        for model in models
    ]


def annotated_images(rows: pd.DataFrame, maps: RunMaps) -> tuple[list[int], pd.Index]:
    """The good images of a run and its defects with a mask: rows of the maps, image_ids.

    `rows` are those of the run.
    """
    tested = rows.set_index("index")
    map_rows = maps.annotated_rows(tested["is_defect"])
    return map_rows, pd.Index(tested["image_id"].loc[maps.index[map_rows]])


def _split_by_model(runs: Sequence[RunFolder]) -> list[list[RunFolder]]:
    """Runs of one model; a repeated fold and seed starts another model."""
    members: dict[tuple[str, int], list[RunFolder]] = {}
    repeats: dict[tuple[str, int, int], int] = {}
    for run in runs:
        key = settings.settings_key(settings.model_settings(run))
        unit = (key, get_seed(run), get_fold(run))
        repeats[unit] = repeats.get(unit, 0) + 1
        members.setdefault((key, repeats[unit]), []).append(run)
    return list(members.values())


def _read_model(name: str, runs: list[RunFolder]) -> ModelRuns:
    stage = TEST if all(TEST in run.stages() for run in runs) else VAL
    rows = pd.concat([_read_rows(run, number, stage) for number, run in enumerate(runs)])
    rows = rows.reset_index(drop=True)
    model = ModelRuns(name, tuple(runs), runs[0].class_names, stage, rows)
    return _keep_shared_images(model) if model.names_defects else model


def _read_rows(run: RunFolder, number: int, stage: str) -> pd.DataFrame:
    """The predictions of a run, with the columns of `ModelRuns.rows`."""
    stored = run.images_of(stage)
    if stored.empty:
        raise RunError(
            f"{run.path}: it has no predictions of test or validation images, so there is nothing "
            "to compare. Leave it out, or train it with a split that has test images."
        )
    if not stored.get("sha256", pd.Series("")).all():
        raise RunError(
            f"{run.path / RunFiles.PREDICTIONS}: expected the SHA-256 of each image in column "
            "sha256, by which images of different runs are matched; found none for some. Evaluate "
            "the run again, or leave it out."
        )
    # Equal files are numbered, so that each stays an image of its own.
    copies = stored.groupby("sha256").cumcount().astype(str)
    kept = ["index", "group", "label", "predicted_label", "score",
            "is_defect", "predicted_defect", "correct"]  # fmt: skip
    return stored[[*kept, *(PROBABILITY + name for name in run.classes)]].assign(
        run=number,
        fold=get_fold(run),
        seed=get_seed(run),
        image_id=stored["sha256"] + "." + copies,
    )


def _keep_shared_images(model: ModelRuns) -> ModelRuns:
    """The rows of the images that every seed predicted, one for each seed."""
    rows = model.rows.sort_values("seed", kind="stable", ignore_index=True)
    rows = rows.drop_duplicates(["seed", "image_id"])
    num_seeds = len(model.seeds)
    is_shared = rows.groupby("image_id")["seed"].transform("size") == num_seeds
    if not is_shared.any():
        raise RunError(
            f"{', '.join(str(run.path) for run in model.runs)}: no image is in the {model.stage} "
            f"split of all {num_seeds} seeds. Train every seed on the same folds."
        )
    most = rows["seed"].value_counts().max()
    kept = rows[is_shared].reset_index(drop=True)
    return replace(model, rows=kept, num_dropped=int(most - kept["image_id"].nunique()))


def _join_groups(models: Sequence[ModelRuns]) -> pd.Series:
    """The group of each image, by image_id, named for its first image.

    Images are in one group where they are in any run. Raises RunError where a run with groups has
    two of them in different ones; a run in which every image stands alone contradicts no other.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    of_models = []
    for model in models:
        paths = model.rows["run"].map({n: str(run.path) for n, run in enumerate(model.runs)})
        of_models.append(model.rows[["image_id", "group"]].assign(run=paths))
    rows = pd.concat(of_models, ignore_index=True)
    stored = rows["group"].where(rows["group"] != "", rows["image_id"])
    rows["own"] = rows.groupby(["run", stored]).ngroup()
    image = rows.groupby("image_id", sort=False).ngroup().to_numpy()
    ends = image, len(rows) + rows["own"].to_numpy()
    edges = coo_array((np.ones(len(rows)), ends), shape=(2 * len(rows), 2 * len(rows)))
    rows["joined"] = connected_components(edges, directed=False)[1][image]
    rows["has_company"] = rows.duplicated("own", keep=False)
    grouped = rows[rows.groupby("run")["has_company"].transform("any")]
    apart = grouped[grouped.groupby(["run", "joined"])["own"].transform("nunique") > 1]
    if len(apart):
        one = apart.iloc[0]
        others = rows[rows["has_company"] & (rows["joined"] == one["joined"])]
        other = others.loc[others["run"] != one["run"], "run"].iloc[0]
        raise RunError(
            f"{one['run']}: its groups contradict those of {other}: images that are in one group "
            f"there are in different groups here, such as that of SHA-256 {one['image_id'][:12]}…. "
            "Give both data sets the same groups (column group of a table of images, "
            "data.near_duplicates), and evaluate both again with evaluate.py."
        )
    rows["first"] = rows.groupby("joined")["image_id"].transform("first")
    return rows.drop_duplicates("image_id").set_index("image_id")["first"]


def _count_masks(model: ModelRuns) -> MaskCounts:
    classes = model.classes if model.names_defects else (model.normal_class, DEFECT)
    image_ids = model.images.index
    shape = (len(model.seeds), len(image_ids))
    counts = np.zeros((*shape, len(classes), len(classes)), dtype=np.int64)
    known, runs_without_masks = np.zeros(shape, dtype=bool), []
    for number, run in enumerate(model.runs):
        maps = run.read_maps()
        if maps is None or maps.predicted_mask is None:
            runs_without_masks.append(run.path.name)
            continue
        map_rows, ids = annotated_images(model.rows_of_run(number), maps)
        found = _count_pixels(maps, map_rows, len(classes), run, is_binary=not model.names_defects)
        seed, columns = model.seeds.index(get_seed(run)), image_ids.get_indexer(ids)
        first = ~known[seed, columns]
        counts[seed, columns[first]], known[seed, columns] = found[first], True
    return MaskCounts(classes, counts, known, tuple(runs_without_masks))


def _count_pixels(
    maps: RunMaps, map_rows: Sequence[int], num_classes: int, run: RunFolder, *, is_binary: bool
) -> np.ndarray:
    """Confusion matrices (K, C, C) of these rows of the maps of a run."""
    targets = [maps.target_mask_of(row) for row in map_rows]
    if is_binary:
        targets = [limit_classes(target) for target in targets]
    predicted = [mask for row in map_rows if (mask := maps.predicted_mask_of(row)) is not None]
    valid = [np.ones(target.shape, dtype=bool) for target in targets]
    try:
        return pixel_confusion_matrices(targets, predicted, valid, num_classes=num_classes)
    except ValueError as error:
        raise RunError(
            f"{run.path / RunFiles.MAPS}: a mask has classes that the run does not have "
            f"({error}). Evaluate the run again with "
            + format_command(["evaluate.py", f"run={run.path}"])
        ) from error
