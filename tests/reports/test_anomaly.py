"""Pictures of scores: what they must say, and the odd inputs that they must survive."""

import numpy as np
import pytest

from capsule_inspection.contracts import Figure as Measured
from capsule_inspection.reports import anomaly

CURVE = (np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.8, 1.0]))


@pytest.mark.parametrize("score", [[0.5, 0.5, 0.5], [0.1, 0.2, 0.9], [1e-3, 2e-3, 5.0]])
def test_score_histogram_counts_both_sides_and_marks_the_threshold(score, words, inside):
    is_defect = np.array([False, False, True])
    figure = anomaly.score_histogram(np.array(score), is_defect, 0.5, calibration=np.array([0.3]))

    text = words(figure)
    assert "good (2 images)" in text
    assert "defect (1 image)" in text
    assert "set the threshold\n(1 image)" in text
    assert "threshold 0.5" in text
    assert inside(figure)


@pytest.mark.parametrize("highest", [0.9, 900.0])
def test_scores_are_called_what_they_are(highest, words):
    score, is_defect = np.array([0.1, 0.2, highest]), np.array([False, False, True])
    group = anomaly.ScoreGroup("good", False, score, is_defect)
    for figure in (
        anomaly.score_histogram(score, is_defect, 0.5, score_name="sureness (higher: surer)"),
        anomaly.scores_by_class([group], 0.5, score_name="sureness (higher: surer)"),
    ):
        logarithmic = ", logarithmic" if highest > 1 else ""
        assert f"sureness (higher: surer{logarithmic})" in words(figure)


def test_score_far_above_all_others_does_not_press_them_together():
    figure = anomaly.score_histogram(np.array([1e-3, 2e-3, 5.0]), np.array([False, False, True]))

    assert figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize("is_defect", [False, True])
def test_score_histogram_of_one_side_names_no_other(is_defect, words):
    text = words(anomaly.score_histogram(np.array([0.1, 0.2]), np.array([is_defect] * 2), 0.15))

    assert ("good (" in text) != is_defect
    assert ("defect (" in text) == is_defect


def test_histogram_and_strips_without_images_say_so(words):
    nothing = np.zeros(0)

    assert "No images" in words(anomaly.score_histogram(nothing, nothing.astype(bool), 0.5))
    assert "No images" in words(anomaly.scores_by_class([], 0.5))


def test_strips_count_what_is_on_the_wrong_side_of_each_class(words, inside):
    groups = [
        anomaly.ScoreGroup(
            "good", False, np.array([0.1, 0.7, 0.2]), np.array([False, True, False])
        ),
        anomaly.ScoreGroup("$x$ " * 20, True, np.array([0.9, 0.3]), np.array([True, False])),
        anomaly.ScoreGroup("never seen", True, np.zeros(0), np.zeros(0, bool)),
    ]
    figure = anomaly.scores_by_class(groups, 0.5)

    text = words(figure)
    assert "1 of 3 rejected" in text
    assert "1 of 2 let through" in text
    assert "never seen" not in text
    assert inside(figure)


def test_roc_names_its_areas_and_the_threshold_in_use(words, inside):
    figure = anomaly.roc(
        CURVE,
        CURVE,
        auroc=Measured(0.875, 0.8, 0.9, 10),
        pixel_auroc=Measured(0.9, None, None, 10),
        now=(0.1, 0.8),
    )

    text = words(figure)
    assert "Images: AUROC 0.875" in text
    assert "Pixels: AUROC 0.900" in text
    assert "threshold in use" in text
    assert inside(figure)


def test_roc_without_pixels_has_one_panel():
    assert len(anomaly.roc(CURVE).axes) == 1


def test_shaded_area_below_the_pro_curve_is_cut_at_its_limit(words, inside):
    figure = anomaly.pro(CURVE, aupro=Measured(0.75, 0.7, 0.8, 10))

    line = figure.axes[0].lines[0]
    assert line.get_xdata().max() == pytest.approx(0.3)
    assert line.get_ydata().max() == pytest.approx(0.8 + 0.2 * 0.2 / 0.9)
    assert "AUPRO = 0.750" in words(figure)
    assert inside(figure)
