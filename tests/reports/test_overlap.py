from capsule_inspection.contracts import Figure as Measured
from capsule_inspection.reports.overlap import overlap_by_class

CLASSES = ("crack", "poke")


def figures(*classes: str) -> dict[str, Measured]:
    """Of each class its place, of pixels 0.1 less than of images; the poke without intervals."""
    found = {"auroc": Measured(0.9, 0.8, 1.0, 12)}
    for number, name in enumerate(classes):
        for metric in ("iou", "dice"):
            value = 0.3 + 0.2 * (number % 3) + 0.1 * (metric == "dice")
            low, high = (None, None) if name == "poke" else (value - 0.2, value + 0.2)
            found[f"{metric}_of_pixels/{name}"] = Measured(value - 0.1, low, high, 12)
            found[f"{metric}_of_images/{name}"] = Measured(value, low, high, 3 + number)
    for of in ("mean", "foreground"):
        for metric in ("iou", "dice"):
            found[f"{of}_{metric}_of_pixels"] = Measured(0.5, 0.4, 0.6, 12)
            found[f"{of}_{metric}_of_images"] = Measured(0.6, 0.5, 0.7, 7)
    return found


def test_each_class_has_both_figures_of_pixels_and_of_images(words, inside):
    figure = overlap_by_class(figures(*CLASSES))

    text = words(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Pooled over pixels",
        "Mean over images",
    ]
    assert "IoU 0.20\nDice 0.30" in text  # crack, of pixels
    assert "IoU 0.50\nDice 0.60" in text  # poke, of images
    assert all(label in text for label in ("crack  (3)", "poke  (4)", "mean of the defects  (7)"))
    assert "any defect, whatever its name" in text
    assert inside(figure)


def test_intervals_are_drawn_where_they_are_known():
    figure = overlap_by_class(figures(*CLASSES))

    bars = [line for line in figure.axes[0].lines if list(line.get_xdata())[1:] and
            line.get_linewidth() == 7]  # fmt: skip
    assert len(bars) == 2 * 3  # crack, mean and any defect; the poke has none


def test_one_class_stands_alone(words):
    text = words(overlap_by_class(figures("defect")))

    assert "defect  (3)" in text
    assert "whatever" not in text
    assert "mean of the defects" not in text


def test_fifteen_long_names_stay_on_the_page(inside):
    names = [f"an exceedingly long name of a defect, number {i}" for i in range(15)]

    assert inside(overlap_by_class(figures(*names)))


def test_no_overlap_says_so(words):
    assert "No mask says" in words(overlap_by_class({"auroc": Measured(0.9, 0.8, 1.0, 12)}))
