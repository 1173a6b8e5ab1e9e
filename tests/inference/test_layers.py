"""Which layers keep their precision: those at both ends of a graph."""

from __future__ import annotations

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


def test_the_first_and_the_last_layer_are_left_out() -> None:
    layers = ["first", "second", "third"]
    assert inner(layers, CHAIN, inputs=["image"], outputs=["answer"]) == {"second"}


def test_a_layer_that_is_read_by_others_too_is_a_last_one_where_it_reaches_the_answer() -> None:
    feeds = {**CHAIN, "second": ["add", "softmax"]}
    assert inner(["first", "second", "third"], feeds, inputs=["image"], outputs=["answer"]) == set()


def test_a_layer_that_sees_the_image_beside_others_is_a_first_one() -> None:
    feeds = {**CHAIN, "scale": ["first", "second"]}
    assert inner(["first", "second", "third"], feeds, inputs=["image"], outputs=["answer"]) == set()


def test_windows_and_blurs_are_no_layers() -> None:
    assert is_layer((8, 3, 7, 7))
    assert is_layer((32, 1, 3, 3)), "convolutions of each channel by itself are learnt"
    assert is_layer((1, 4, 3, 3))
    assert is_layer((10, 512))
    assert not is_layer((3, 1, 11, 11))
    assert not is_layer((1, 1, 9, 1))
    assert not is_layer((10,))
    assert not is_layer(())
