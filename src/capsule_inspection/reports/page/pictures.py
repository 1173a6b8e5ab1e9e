"""The pictures of the page, from the run's figures folder, with what to look for in each."""

from __future__ import annotations

from capsule_inspection.reports import (
    run_anomaly,
    run_explanations,
    run_pictures,
    run_segmentation,
)
from capsule_inspection.reports.html import Picture
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import TEST, RunError, RunFiles

_MAIN = {
    run_anomaly.EXAMPLES: (
        "The worst image of each class.",
        "In the last column yellow, which is where the map is brightest, should lie on blue, the "
        "true defect, if that is known. Yellow on a good part is what causes false alarms; a "
        "defect without yellow was not seen. Orange captions are mistakes.",
    ),
    run_anomaly.SCORES: (
        "How suspicious each image looks to the model.",
        "Blue and orange should not overlap. Orange left of the dashed line is let through, blue "
        "right of it is rejected. The green ticks are the good images that set the threshold: blue "
        "should be spread as they are, or the good parts of the test differ from them.",
    ),
    run_anomaly.SCORES_BY_CLASS: (
        "The same by class: which defects look like good parts?",
        "Each point is an image, each cross a mistake. A class whose points lie where the good "
        "ones do cannot be told from them by any threshold.",
    ),
    run_pictures.CONFUSION: (
        "What is taken for what, test images.",
        "Blue is right, orange is wrong. The first column holds the defects that were called good.",
    ),
    run_pictures.WORST_MISTAKES: (
        "The mistakes that the model was surest of.",
        "Is the label wrong, the defect hardly visible, or does the model look at something else?",
    ),
    run_explanations.EXPLANATIONS: (
        "Where the network looked, in images with a defect.",
        "The cross should lie on the line around the true defect. Where it lies on the print, a "
        "reflection or the background, the name was found or missed for a reason that need not "
        "hold on the next part. The map is coarse: how far the bright reaches says little.",
    ),
    run_anomaly.RECALL_BY_CLASS: (
        "How many of each class are judged rightly.",
        "Long bars mean few images: the true share may be anywhere in the bar.",
    ),
    run_anomaly.ROC: (
        "What other thresholds would do.",
        "The red point is the threshold in use. Moving it along the line to the right finds more "
        "defects and rejects more good parts. The nearer the line to the upper left, the better.",
    ),
    run_anomaly.PRO: (
        "Does the map show where the defect is?",
        "The faster the line rises, the more of each defect is covered before good pixels are "
        "marked too.",
    ),
    run_pictures.PRECISION_RECALL: (
        "Each class against the rest.",
        "The nearer a line stays to the top, the fewer false finds come with the true ones.",
    ),
}
_OF_MARKS = {
    run_anomaly.EXAMPLES: (
        "The worst image of each class.",
        "In the last two columns the fill is what was marked, the line around it is the true "
        "defect, each in the colour of its class: the better they lie on each other, the better. "
        "A line without fill was not seen, a fill without line is a false alarm, and two colours "
        "on one place are a wrong name. Grey is suspicion that was too weak to be marked. Orange "
        "captions are images that were judged or named wrongly, or rightly by marks elsewhere.",
    ),
    run_segmentation.OVERLAP_BY_CLASS: (
        "How well the marks cover each kind of defect.",
        "Left all images count as one, right each by itself. A class that stays near 0 is missed "
        "or marked under another name: compare it with the last line, in which names play no part. "
        "Long bars mean few images.",
    ),
    run_pictures.CONFUSION: _MAIN[run_pictures.CONFUSION],
    run_anomaly.RECALL_BY_CLASS: _MAIN[run_anomaly.RECALL_BY_CLASS],
    run_anomaly.SCORES: (
        "How sure the model is that there is a defect in each image.",
        "The score is the highest probability that a region of the smallest size still reaches in "
        "all its pixels. Blue and orange should not overlap. Orange left of the dashed line is let "
        "through, blue right of it is rejected.",
    ),
    run_anomaly.SCORES_BY_CLASS: _MAIN[run_anomaly.SCORES_BY_CLASS],
    run_anomaly.ROC: _MAIN[run_anomaly.ROC],
    run_anomaly.PRO: (
        "Do the probabilities show where the defect is, whatever the decision?",
        _MAIN[run_anomaly.PRO][1],
    ),
}
_TRAINING = {
    run_pictures.CURVES: (
        "The course of the training.",
        "Losses should fall and level off. A validation loss that rises again while the training "
        "loss falls means that images were learned by heart; one that still falls at the end, that "
        "more epochs may help.",
    ),
    run_pictures.CONFUSION_VAL: (
        "What is taken for what, validation images.",
        "It should resemble that of the test images.",
    ),
}


_WINDOWS_FIRST = (
    " The training loss is of windows around defects at first and jumps where whole images take "
    "their place; the best epoch is one of those that follow."
)
_CURVES_OF_MARKS = (
    " Dice and IoU are of the most probable class of each validation pixel, before anything is "
    "decided."
)


def main_pictures(run: RunFolder) -> list[Picture]:
    """Those that everybody should look at."""
    return _found(run, _OF_MARKS if run.marks_pixels else _MAIN)


def training_pictures(run: RunFolder) -> list[Picture]:
    """Those that say how the training went."""
    if not run.marks_pixels:
        return _found(run, _TRAINING)
    title, meaning = _TRAINING[run_pictures.CURVES]
    share = run.settings.get("task.whole_from")
    is_changed = isinstance(share, int | float) and 0 < share < 1
    windows = _WINDOWS_FIRST if is_changed and run.settings.get("data.mode") != "tiles" else ""
    return _found(
        run, {**_TRAINING, run_pictures.CURVES: (title, meaning + windows + _CURVES_OF_MARKS)}
    )


def class_pictures(run: RunFolder) -> list[Picture]:
    """Worst and best image of each class, each class by itself, where there are maps of images."""
    if TEST not in run.stages() or (run.classes and not run.marks_pixels):
        return []
    which = "Worst, median and best" if run.marks_pixels else "Worst and best"
    classes = run_anomaly.classes_in(run, run.scores_of(TEST))
    named = {
        file: (f"{which} image: {name}", "")
        for name, file in run_anomaly.examples_file_names(classes).items()
    }
    return _found(run, named)


def _found(run: RunFolder, wanted: dict[str, tuple[str, str]]) -> list[Picture]:
    folder = run.path / RunFiles.PICTURES
    return [
        Picture(f"{RunFiles.PICTURES}/{file}", caption, _read(run, file), look_for)
        for file, (caption, look_for) in wanted.items()
        if (folder / file).is_file()
    ]


def _read(run: RunFolder, file: str) -> bytes:
    path = run.path / RunFiles.PICTURES / file
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error}).") from error
