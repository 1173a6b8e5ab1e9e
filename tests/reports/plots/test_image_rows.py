"""Rows of images: every column with content, whatever else is missing."""

import numpy as np
import pytest

from capsule_inspection.reports.plots import segmentation_examples, style
from capsule_inspection.reports.plots.anomaly_examples import (
    AnomalyExample,
    MapScale,
    anomaly_rows,
    map_scale,
)
from capsule_inspection.reports.plots.explanations import ExplanationExample, explanation_rows
from capsule_inspection.reports.plots.overlays import colours_of
from capsule_inspection.reports.plots.segmentation_examples import (
    SegmentationExample,
    segmentation_rows,
)

SCALE = MapScale(0.0, 2.0, 1.0)
DEFECTS = ("crack", "poke")
LONG = "an exceedingly long caption of an image that says its class, its score and its threshold"
SHAPES = pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 20), (5, 100)])


def grey_image(height: int, width: int, grey: int = 200) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def example(height=20, width=60, caption="crack", **changed) -> AnomalyExample:
    mask = np.zeros((10, 30), bool)
    mask[3:6, 10:20] = True
    parts = {
        "image": grey_image(height, width),
        "reconstruction": grey_image(height, width, 100),
        "anomaly_map": 2.0 * mask,
        "mask": mask,
    }
    return AnomalyExample(caption, True, **{**parts, **changed})


def explained(
    height=20, width=60, caption="true: crack, predicted: poke", **changed
) -> ExplanationExample:
    mask = np.zeros((10, 30), bool)
    mask[3:6, 10:20] = True
    heat = np.zeros((10, 30), np.float32)
    heat[4, 15] = 1
    shown = {"image": grey_image(height, width), "heat": heat, "mask": mask, "peak": (4, 15)}
    return ExplanationExample(caption, **{"is_hit": True, **shown, **changed})


def segmented(height=20, width=60, caption="crack", **changed) -> SegmentationExample:
    target, predicted = np.zeros((2, 20, 60), np.uint8)
    target[6:10, 20:30] = 1
    predicted[6:10, 22:32] = 2
    parts = {
        "image": grey_image(height, width),
        "target_mask": target,
        "predicted_mask": predicted,
        "probability": 0.9 * (predicted > 0),
    }
    return SegmentationExample(caption, True, **{**parts, **changed})


def image_in(figure, panel: int) -> np.ndarray:
    """The image in one panel."""
    return np.asarray(figure.axes[panel].images[0].get_array())


def test_rows_without_examples_say_so(texts_of):
    for figure in (anomaly_rows([], SCALE), explanation_rows([]), segmentation_rows([], DEFECTS)):
        assert "No images" in texts_of(figure)


@SHAPES
def test_images_of_any_shape_long_captions_and_many_classes_stay_within_the_figure(
    height, width, is_inside_figure
):
    nowhere, flat = np.zeros((10, 30), bool), np.full((10, 30), 5.0, np.float32)
    rows = [example(height, width, caption=LONG),
            example(height, width, caption=LONG, anomaly_map=flat, mask=nowhere)]  # fmt: skip
    assert is_inside_figure(anomaly_rows(rows, SCALE, title="T"))
    flat = {"heat": np.zeros((height, width)), "mask": np.zeros((height, width), bool)}
    rows = [explained(height, width, caption=LONG, peak=None, **flat)] * 2
    assert is_inside_figure(explanation_rows(rows, title="T", note="two lines\nof a note"))
    masks = dict.fromkeys(
        ("target_mask", "predicted_mask", "probability"), np.ones((height, width), np.uint8)
    )
    names = [f"an exceedingly long name of a defect, number {i}" for i in range(14)]
    assert is_inside_figure(
        segmentation_rows([segmented(height, width, caption=LONG, **masks)] * 2, names, title="T")
    )


# --- anomaly maps


def test_row_of_a_map_has_five_columns_a_colour_bar_and_a_legend(texts_of, is_inside_figure):
    figure = anomaly_rows([example(), example()], SCALE, title="Title")

    text = texts_of(figure)
    assert len(figure.axes) == 2 * 5 + 2
    for expected in ("Title", "crack", "anomaly map", "above the yellow line", "0.5% of good"):
        assert expected in text
    assert is_inside_figure(figure)


def test_empty_columns_are_left_out_and_missing_images_have_placeholders(texts_of):
    bare = anomaly_rows([example(reconstruction=None, mask=None)], SCALE)
    assert len(bare.axes) == 3 + 2
    assert "true defect" not in texts_of(bare)
    image = anomaly_rows([example(reconstruction=None, anomaly_map=None, mask=None)], None)
    assert len(image.axes) == 1
    assert "Dark" not in texts_of(image)
    lacking = [example(), example(image=None, reconstruction=None), example(mask=None)]
    text = texts_of(anomaly_rows(lacking, SCALE))
    assert text.count("not kept") == 3  # input, reconstruction and overlay
    assert "not known" in text


def test_scale_is_outlined_where_hardly_any_good_pixel_reaches_and_has_a_width():
    good = np.linspace(0, 1, 1001)
    scale = map_scale(good, np.concatenate([good, np.full(100, 9.0)]))

    assert scale.level == pytest.approx(0.995)
    assert scale.high == pytest.approx(9.0)
    for value in (0.0, 3.0):
        flat = map_scale(np.zeros(0), np.full(10, value))
        assert flat.low < flat.high


# --- explanations


def test_row_of_an_explanation_has_the_image_and_the_map_over_it(texts_of, is_inside_figure):
    rows = [explained(), explained(is_hit=False, peak=None, heat=np.zeros((10, 30)))]
    figure = explanation_rows(rows, title="Title", note="what to see")

    text = texts_of(figure)
    assert len(figure.axes) == 2 * 2 + 1
    for part in ("Title", "image", "explanation map", "true: crack",
                 "true defect", "highest point", "what to see"):  # fmt: skip
        assert part in text
    assert is_inside_figure(figure)
    image, heat, missed, flat, *_ = figure.axes
    assert image._left_title.get_color() == style.BLACK
    assert missed._left_title.get_color() == style.VERMILION
    opacity = heat.images[-1].get_alpha()
    assert opacity[0, 0] == 0  # no evidence for the class here
    assert opacity[4, 15] == opacity.max() > 0.5
    assert [line.get_xydata().tolist() for line in heat.lines] == [[[15, 4]]]
    assert list(flat.lines) == []


def test_explanation_without_its_image_or_an_edge_of_its_mask_is_drawn(texts_of):
    everywhere, nowhere = (explained(mask=np.full((10, 30), covers)) for covers in (True, False))
    text = texts_of(explanation_rows([explained(image=None), everywhere, nowhere]))
    assert text.count("not kept") == 1


# --- segmentation


def test_row_of_masks_has_five_columns_in_the_colours_of_its_classes_and_one_legend(
    texts_of, is_inside_figure
):
    figure = segmentation_rows(
        [segmented(), segmented(probability=np.full((20, 60), 0.5))], DEFECTS, title="T"
    )

    text = texts_of(figure)
    assert len(figure.axes) == 2 * 5 + 1
    assert all(part in text for part in ("T", "true defect", "filled: predicted", "enlarged"))
    assert [label.get_text() for label in figure.axes[-1].get_legend().texts] == list(DEFECTS)
    assert is_inside_figure(figure)
    assert image_in(figure, 1)[8, 25].tolist() == colours_of(3)[1].tolist()
    assert image_in(figure, 2)[8, 25].tolist() == colours_of(3)[2].tolist()
    red, green, blue = image_in(figure, 7)[0, 0].tolist()  # a probability below the thresholds
    assert 0 < red == green == blue < 128


def test_crop_lies_around_the_true_defect_or_the_largest_predicted_region_of_a_good_image():
    (frame,) = segmentation_rows([segmented()], DEFECTS).axes[3].patches
    (x0, y0), nothing = frame.get_xy(), np.zeros((20, 60), np.uint8)
    assert 0 <= x0 < 20
    assert x0 + frame.get_width() >= 30
    assert 0 <= y0 <= 6
    assert y0 + frame.get_height() >= 10

    predicted = nothing.copy()
    predicted[2:4, 2:4] = 1
    predicted[10:18, 40:56] = 2
    (frame,) = (
        segmentation_rows([segmented(target_mask=nothing, predicted_mask=predicted)], DEFECTS)
        .axes[2]
        .patches
    )
    assert frame.get_x() > 10

    whole = np.ones((20, 60), np.uint8)
    assert (
        not segmentation_rows([segmented(target_mask=whole, predicted_mask=whole)], DEFECTS)
        .axes[3]
        .patches
    )


def test_empty_mask_columns_are_left_out_and_missing_masks_have_placeholders(texts_of):
    nothing = np.zeros((20, 60), np.uint8)
    without_target = segmentation_rows(
        [segmented(target_mask=None), segmented(target_mask=None, predicted_mask=nothing)], DEFECTS
    )
    text = texts_of(without_target)
    assert len(without_target.axes) == 2 * 4 + 1
    assert "true" not in text
    assert "no predicted region" in text

    bare = segmented(target_mask=None, predicted_mask=None, probability=None)
    assert len(segmentation_rows([bare], DEFECTS).axes) == 1
    text = texts_of(segmentation_rows([segmented(), bare, segmented(target_mask=None)], DEFECTS))
    assert text.count("not kept") == 3  # mask, overlay, crop
    assert text.count("not known") == 2

    no_image = segmentation_rows([segmented(image=None)], DEFECTS)
    assert texts_of(no_image).count("not kept") == 1  # the image itself
    assert image_in(no_image, 3)[0, 0].tolist() == [segmentation_examples._MISSING_GREY] * 3
