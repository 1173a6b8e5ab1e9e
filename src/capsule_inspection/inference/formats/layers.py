"""Layers of an exported graph that int8 models compute with eight bits: all but the outer ones.

The first layers take the image, whose faint defects are a few of 256 steps, and the last ones give
what is compared with thresholds: these stay in float32, as does the scoring behind the network. The
engines' defaults quantize them too, and change more predictions: of 65 test images of a ResNet18 in
OpenVINO 5 instead of 1, of 48 of an autoencoder in ONNX Runtime 9 instead of 1. A ResNet18 in ONNX
Runtime and a U-Net showed no difference; each was one run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

_COLOURS = 3


def is_learned(weights: Sequence[int]) -> bool:
    """Whether weights of a shape (outputs, inputs, ...) belong to a layer of the network.

    Blurs and windows of the scoring do not: they treat each colour, or a map, by itself.
    """
    return len(weights) >= 2 and not (weights[1] == 1 and weights[0] <= _COLOURS)


def inner_layers(
    layers: Collection[str],
    consumers: Mapping[str, Sequence[str]],
    *,
    inputs: Iterable[str],
    outputs: Iterable[str],
) -> set[str]:
    """Layers with another layer between them and the graph's inputs, and its outputs.

    `consumers` has the nodes that read what a node gives, all by name.
    """
    known, ends = set(layers), set(outputs)
    first = _reach(inputs, consumers, known)
    last = {layer for layer in known if _reach(consumers.get(layer, ()), consumers, known) & ends}
    return known - first - last


def _reach(
    nodes: Iterable[str], consumers: Mapping[str, Sequence[str]], layers: set[str]
) -> set[str]:
    """These nodes and all behind them, up to and with the next layers."""
    reached: set[str] = set()
    pending = [*nodes]
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += () if name in layers else consumers.get(name, ())
    return reached
