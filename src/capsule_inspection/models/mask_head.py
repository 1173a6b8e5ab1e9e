"""A second head for classifiers: which defect does each place of an image show?

It is taught by masks, which say far more than one label an image, and the answer for the image may
read it: of each defect, how much its most suspicious places look like it.
Sources: feature pyramid, Lin et al. 2017 (arXiv:1612.03144), section 3, with the additions of each
level convolved; the mean of the highest places is the pooling of multiple instance learning
(Durand et al. 2017, "WILDCAT", section 3.3). Pure torch; its loss is in tasks/classification_/lightning_module.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH = 64
"""Channels of every level."""
_FINEST = 4
"""Side of the image by that of the finest map that is read: finer ones cost most and add little."""
_SHARES = (0.0005, 0.004)
"""Of all places, how many are read: the size of a poke, and that of a larger defect."""
_BACKGROUND = 2.0
"""Logit of the background at the first step: nearly all places show none of the defects."""


class MaskHead(nn.Module):
    """From maps of a backbone, fine to coarse, to logits of each place's class.

    `channels` are those of the maps; of the classes (C) 0 is the background.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, *, is_read: bool = True) -> None:
        """`is_read`: it has a reader for the answer of the image."""
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, _WIDTH, 1) for count in channels)
        self.merge = nn.ModuleList(_merge() for _ in channels)
        self.classify = nn.Conv2d(_WIDTH, num_classes, 1)
        nn.init.trunc_normal_(self.classify.weight, std=0.02)
        assert self.classify.bias is not None
        nn.init.zeros_(self.classify.bias)
        nn.init.constant_(self.classify.bias[:1], _BACKGROUND)
        self.read = EvidenceReader(num_classes) if is_read else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, C, h, w), of the size of the finest map."""
        coarsest_last = [*zip(maps, self.lateral, self.merge, strict=True)]
        merged: Tensor | None = None
        for found, lateral, merge in reversed(coarsest_last):
            level = lateral(found)
            if merged is not None:
                level = level + F.interpolate(merged, size=level.shape[2:], mode="nearest")
            merged = merge(level)
        logits: Tensor = self.classify(merged)
        return logits


def _merge() -> nn.Sequential:
    convolution = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(_WIDTH), nn.ReLU(inplace=True))


class EvidenceReader(nn.Module):
    """From logits of places (N, C, h, w) to logits of the image (N, C).

    It begins as the mean, over two numbers of places, of the highest odds of each defect against
    the background; what they are worth for each class is learnt.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        defects = num_classes - 1
        self.weigh = nn.Linear(len(_SHARES) * defects, num_classes)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)
        with torch.no_grad():
            for label in range(1, num_classes):
                self.weigh.weight[label, label - 1 :: defects] = 1 / len(_SHARES)

    def forward(self, logits: Tensor) -> Tensor:
        odds = (logits[:, 1:] - logits[:, :1]).flatten(2)
        places = int(odds.shape[2])  # traced graphs would keep a tensor
        counts = [max(1, round(share * places)) for share in _SHARES]
        highest = odds.topk(max(counts), dim=2).values
        evidence = [highest[:, :, :count].mean(2) for count in counts]
        return self.weigh(torch.cat(evidence, dim=1))


def levels(maps: Sequence[Tensor], *, image_size: tuple[int, int]) -> list[int]:
    """Which of a backbone's maps are read: of each size the last, from a quarter of the image on.

    Shapes: maps (N, C_i, h_i, w_i), from input to output. Returns their numbers, fine to coarse.
    """
    last = {tuple(found.shape[2:]): number for number, found in enumerate(maps)}
    rows = image_size[0] / _FINEST
    read = [number for size, number in last.items() if size[0] <= rows + 1]
    return sorted(read or [len(maps) - 1])
