"""Which layers of an exported graph may compute with eight bits: those in its middle.

The first layers see the photograph, whose faint defects are a few of 256 steps, and the last ones
give what is compared with thresholds: these keep their precision, as all that is no layer does.
Graphs are given by names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

_COLOURS = 3


def is_layer(weights: Sequence[int]) -> bool:
    """Whether weights of a shape (outputs, inputs, ...) are learnt.

    Blurs and windows of the scoring are not: they treat each colour, or a map, by itself.
    """
    if len(weights) < 2:
        return False
    return not (weights[1] == 1 and weights[0] <= _COLOURS)


def inner(
    layers: Collection[str],
    feeds: Mapping[str, Sequence[str]],
    *,
    inputs: Iterable[str],
    outputs: Iterable[str],
) -> set[str]:
    """Layers that neither read the graph's inputs nor give its outputs without another in between.

    `feeds` names, for each node, the nodes that read what it gives.
    """
    known, ends = set(layers), set(outputs)
    first = _reached(inputs, feeds, known)
    last = {layer for layer in known if _reached(feeds.get(layer, ()), feeds, known) & ends}
    return known - first - last


def _reached(
    nodes: Iterable[str], feeds: Mapping[str, Sequence[str]], layers: set[str]
) -> set[str]:
    """These nodes, and all behind them up to the next layers, which are among them."""
    seen: set[str] = set()
    waiting = [*nodes]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += () if name in layers else feeds.get(name, ())
    return seen
