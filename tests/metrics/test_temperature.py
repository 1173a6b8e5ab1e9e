"""Temperature and shift are found where images speak for them, and stay away where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.metrics.temperature import TemperatureScaling

EQUAL = np.ones(4)


def draw(count: int, *, good: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 4) that are right about how sure one may be, and labels drawn from them."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=2.0, size=(count, 4))
    logits[:, 0] += good
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (random.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return logits, label


@pytest.mark.parametrize(("temperature", "shift"), [(1.0, 0.0), (0.5, 1.0), (2.0, -1)])
def test_what_was_done_to_the_logits_is_undone(temperature: float, shift: float) -> None:
    logits, label = draw(20_000)
    logits[:, 0] -= shift
    found = TemperatureScaling.fit(logits * temperature, label, weights=EQUAL)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.good_shift == pytest.approx(shift, abs=0.1)
    assert found.images == 20_000


def test_a_handful_of_images_moves_them_less_than_many() -> None:
    logits, label = draw(20_000, good=2)
    logits[:, 0] -= 2
    few, some, many = (
        TemperatureScaling.fit(logits[:n], label[:n], weights=EQUAL).good_shift
        for n in (15, 150, 20_000)
    )
    assert 0 < few < some < many
    assert few < 1


def test_without_good_ones_without_defects_or_without_images_nothing_is_shifted() -> None:
    logits, label = draw(2000)
    for kept in (label == 0, label > 0):
        found = TemperatureScaling.fit(logits[kept], label[kept], weights=EQUAL)
        assert found.good_shift == 0
        assert found.temperature > 0
    none = TemperatureScaling.fit(np.zeros((0, 4)), np.zeros(0, int), weights=EQUAL)
    assert none == TemperatureScaling()


def test_weights_say_for_which_prior() -> None:
    logits, label = draw(5000)
    towards_defects = np.array([0.2, 1, 1, 1])
    aimed = TemperatureScaling.fit(logits, label, weights=towards_defects)
    assert aimed.good_shift == pytest.approx(np.log(0.2), abs=0.2)
    assert TemperatureScaling.fit(logits, label, weights=2 * towards_defects) == aimed


def test_labels_that_are_always_right_keep_the_temperature_finite() -> None:
    label = np.arange(4).repeat(5)
    found = TemperatureScaling.fit(10 * np.eye(4)[label], label, weights=EQUAL)
    assert 0.01 < found.temperature <= 1
    assert abs(found.good_shift) < 1


def test_it_survives_its_dictionary_and_refuses_others() -> None:
    found = TemperatureScaling(1.5, 0.25, 31)
    assert TemperatureScaling.from_state_dict(found.state_dict()) == found
    with pytest.raises(TypeError):
        TemperatureScaling.from_state_dict({"warmth": 1})
