"""Which layers of a graph int8 models quantize: all but those at its ends."""

from __future__ import annotations

import pytest

from capsule_inspection.inference.formats.layers import inner_layers, is_learned

CHAIN = {
    "image": ["scale"],
    "scale": ["first"],
    "first": ["relu"],
    "relu": ["second", "add"],
    "second": ["add"],
    "add": ["third"],
    "third": ["softmax"],
    "softmax": ["logits"],
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"second"}),
        ({"second": ["add", "softmax"]}, set()),
        ({"scale": ["first", "second"]}, set()),
    ],
    ids=["a chain", "a layer that reaches the output too", "a layer that takes the image too"],
)
def test_the_first_and_the_last_layers_are_left_out(
    change: dict[str, list[str]], expected: set[str]
) -> None:
    layers = ["first", "second", "third"]
    consumers = {**CHAIN, **change}
    assert inner_layers(layers, consumers, inputs=["image"], outputs=["logits"]) == expected


def test_blurs_are_not_learned_but_convolutions_of_single_channels_are() -> None:
    assert all(map(is_learned, [(8, 3, 7, 7), (32, 1, 3, 3), (1, 4, 3, 3), (10, 512)]))
    assert not any(map(is_learned, [(3, 1, 11, 11), (1, 1, 9, 1), (10,), ()]))
