"""Which layers keep their precision: those at both ends of a graph."""

from __future__ import annotations

import pytest

from capsule_inspection.inference.formats.layers import inner, is_layer

CHAIN = {
    "image": ["scale"],
    "scale": ["first"],
    "first": ["relu"],
    "relu": ["second", "add"],
    "second": ["add"],
    "add": ["third"],
    "third": ["softmax"],
    "softmax": ["answer"],
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"second"}),
        ({"second": ["add", "softmax"]}, set()),
        ({"scale": ["first", "second"]}, set()),
    ],
    ids=["a chain", "one that reaches the answer too", "one that sees the image too"],
)
def test_the_first_and_the_last_layers_are_left_out(
    change: dict[str, list[str]], expected: set[str]
) -> None:
    layers = ["first", "second", "third"]
    assert inner(layers, {**CHAIN, **change}, inputs=["image"], outputs=["answer"]) == expected


def test_windows_and_blurs_are_no_layers_but_convolutions_of_single_channels_are() -> None:
    assert all(map(is_layer, [(8, 3, 7, 7), (32, 1, 3, 3), (1, 4, 3, 3), (10, 512)]))
    assert not any(map(is_layer, [(3, 1, 11, 11), (1, 1, 9, 1), (10,), ()]))
