"""The plots of the page, from the figures folder of the run, with guidance on how to read them."""

from __future__ import annotations

from capsule_inspection.reports.html import EmbeddedImage
from capsule_inspection.reports.run import (
    anomaly_plots,
    explanation_plots,
    plots,
    segmentation_plots,
)
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TEST, RunError, RunFiles

_MAIN = {
    anomaly_plots.EXAMPLES: (
        "The worst image of each class.",
        "In the last column yellow, which outlines the brightest part of the map, should lie on "
        "blue, the true defect, if that is known. Yellow on a good part causes false alarms; a "
        "defect without yellow is missed by the map. Orange captions are mistakes.",
    ),
    anomaly_plots.SCORES: (
        "Anomaly scores of the images.",
        "Blue and orange should not overlap. Orange left of the dashed line is missed, blue "
        "right of it is rejected. The green ticks are the good images that set the threshold: blue "
        "should have the same distribution, or the good parts of the test differ from them.",
    ),
    anomaly_plots.SCORES_BY_CLASS: (
        "Anomaly scores by class.",
        "Each point is an image, each cross a mistake. No threshold separates a "
        "class whose points lie where the good ones do.",
    ),
    plots.CONFUSION: (
        "Confusion matrix, test images.",
        "Blue is right, orange is wrong. The first column holds the missed defects.",
    ),
    plots.MISCLASSIFIED: (
        "The most confident mistakes.",
        "Is the label wrong, the defect hardly visible, or does the model look at something else?",
    ),
    explanation_plots.EXPLANATIONS: (
        "Explanation maps of images with a defect.",
        "The cross should lie on the line around the true defect. Where it lies on the print, a "
        "reflection or the background, the prediction relies on something that need not "
        "hold for other parts. The map is coarse: the extent of bright regions says little.",
    ),
    anomaly_plots.RECALL_BY_CLASS: (
        "Recall of each class.",
        "Long bars mean few images: the true recall may be anywhere in the bar.",
    ),
    anomaly_plots.ROC: (
        "ROC curve: all thresholds.",
        "The red point is the threshold in use. Moving it along the line to the right finds more "
        "defects and rejects more good parts. The nearer the line to the upper left, the better.",
    ),
    anomaly_plots.PRO: (
        "Localization by the anomaly map.",
        "The faster the line rises, the more of each defect is covered at few false positives.",
    ),
    plots.PRECISION_RECALL: (
        "Precision and recall of each class against the rest.",
        "The nearer a line stays to the top, the fewer false positives come with the true ones.",
    ),
}
_SEGMENTATION = {
    anomaly_plots.EXAMPLES: (
        "The worst image of each class.",
        "In the last two columns the fill is the predicted mask and the line the true defect, "
        "each in the colour of its class. A line without fill is a missed defect, a fill without "
        "line a false positive, and two colours in one region a wrong class. Grey is a probability "
        "below the thresholds. Orange captions are images that are classified wrongly, or rightly "
        "by a predicted region beside the defect.",
    ),
    segmentation_plots.OVERLAP_BY_CLASS: (
        "Overlap of predicted and target masks by class.",
        "Left the pixels of all images are pooled, right each image counts by itself. A class near "
        "0 is missed or predicted as another class: compare it with the last line, in which "
        "classes play no role. Long bars mean few images.",
    ),
    plots.CONFUSION: _MAIN[plots.CONFUSION],
    anomaly_plots.RECALL_BY_CLASS: _MAIN[anomaly_plots.RECALL_BY_CLASS],
    anomaly_plots.SCORES: (
        "Scores of the images.",
        "The score is the highest probability that all pixels of a region of the smallest size "
        "reach. Blue and orange should not overlap. Orange left of the dashed line is missed, blue "
        "right of it is rejected.",
    ),
    anomaly_plots.SCORES_BY_CLASS: _MAIN[anomaly_plots.SCORES_BY_CLASS],
    anomaly_plots.ROC: _MAIN[anomaly_plots.ROC],
    anomaly_plots.PRO: (
        "Localization by the probabilities, without thresholds.",
        _MAIN[anomaly_plots.PRO][1],
    ),
}
_TRAINING = {
    plots.CURVES: (
        "Training curves.",
        "Losses should fall and level off. A validation loss that rises again while the training "
        "loss falls means overfitting; one that still falls at the end means that more epochs "
        "may help.",
    ),
    plots.CONFUSION_VAL: (
        "Confusion matrix, validation images.",
        "It should resemble that of the test images.",
    ),
}


_CROPS_FIRST = (
    " The training loss is of crops around defects at first and jumps where training goes on with "
    "full images; the best epoch is one of the latter."
)
_ARGMAX_METRICS = (
    " Dice and IoU are of the most probable class of each validation pixel, without "
    "post-processing."
)


def main_plots(run: RunFolder) -> list[EmbeddedImage]:
    """The plots of the test images."""
    return _embed(run, _SEGMENTATION if run.has_masks else _MAIN)


def training_plots(run: RunFolder) -> list[EmbeddedImage]:
    """The plots of the training."""
    if not run.has_masks:
        return _embed(run, _TRAINING)
    title, guidance = _TRAINING[plots.CURVES]
    switch = run.settings.get("task.full_image_from")
    has_switch = isinstance(switch, int | float) and 0 < switch < 1
    crops = _CROPS_FIRST if has_switch and run.settings.get("data.tiling.size") is None else ""
    return _embed(run, {**_TRAINING, plots.CURVES: (title, guidance + crops + _ARGMAX_METRICS)})


def class_plots(run: RunFolder) -> list[EmbeddedImage]:
    """Examples of each class, worst and best, where there are maps."""
    if TEST not in run.stages() or (run.classes and not run.has_masks):
        return []
    which = "Worst, median and best" if run.has_masks else "Worst and best"
    classes = anomaly_plots.present_classes(run, run.scores_of(TEST))
    captions = {
        file: (f"{which} image: {name}", "")
        for name, file in anomaly_plots.examples_file_names(classes).items()
    }
    return _embed(run, captions)


def _embed(run: RunFolder, wanted: dict[str, tuple[str, str]]) -> list[EmbeddedImage]:
    folder = run.path / RunFiles.PLOTS
    return [
        EmbeddedImage(f"{RunFiles.PLOTS}/{file}", caption, _read(run, file), guidance)
        for file, (caption, guidance) in wanted.items()
        if (folder / file).is_file()
    ]


def _read(run: RunFolder, file: str) -> bytes:
    path = run.path / RunFiles.PLOTS / file
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error}).") from error
