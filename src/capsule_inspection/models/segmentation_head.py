"""A second head for classifiers: the class of each position of a feature map.

It is trained on masks, which carry more information than one label for each image. Its logits can
be pooled into those of the image.
Sources: feature pyramid, Lin et al. 2017 (arXiv:1612.03144), section 3, with the sums of each level
convolved; top-k pooling, Durand et al. 2017 ("WILDCAT", section 3.3). Pure torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WIDTH = 64
"""Channels of every level."""
_FINEST_STRIDE = 4
"""Stride of the finest map that is used: finer ones cost most and add little."""
_TOPK_FRACTIONS = (0.0005, 0.004)
"""Fractions of all positions that are pooled: the size of a poke, and that of a larger defect."""
_BACKGROUND_LOGIT = 2.0
"""Initial logit of the background: nearly all positions show no defect."""


class SegmentationHead(nn.Module):
    """From maps of a backbone, fine to coarse, to logits of each position.

    `channels` are those of the maps; class 0 is the background. With `has_pooling` the head has a
    `TopKPoolingHead` for the image's logits.
    """

    def __init__(
        self, channels: Sequence[int], num_classes: int, *, has_pooling: bool = True
    ) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, _WIDTH, 1) for count in channels)
        self.merge = nn.ModuleList(_make_merge() for _ in channels)
        self.classify = nn.Conv2d(_WIDTH, num_classes, 1)
        nn.init.trunc_normal_(self.classify.weight, std=0.02)
        assert self.classify.bias is not None
        nn.init.zeros_(self.classify.bias)
        nn.init.constant_(self.classify.bias[:1], _BACKGROUND_LOGIT)
        self.read = TopKPoolingHead(num_classes) if has_pooling else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (N, C, h, w), of the size of the finest map."""
        levels = [*zip(maps, self.lateral, self.merge, strict=True)]
        merged: Tensor | None = None
        for features, lateral, merge in reversed(levels):
            level = lateral(features)
            if merged is not None:
                level = level + F.interpolate(merged, size=level.shape[2:], mode="nearest")
            merged = merge(level)
        logits: Tensor = self.classify(merged)
        return logits


def _make_merge() -> nn.Sequential:
    convolution = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(_WIDTH), nn.ReLU(inplace=True))


class TopKPoolingHead(nn.Module):
    """From spatial logits (N, C, h, w) to logits of the image (N, C).

    For each defect the highest odds against the background are averaged, over two numbers of
    positions; a linear layer, which starts as the mean of both, weighs them for each class.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        defects = num_classes - 1
        self.weigh = nn.Linear(len(_TOPK_FRACTIONS) * defects, num_classes)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)
        with torch.no_grad():
            for label in range(1, num_classes):
                self.weigh.weight[label, label - 1 :: defects] = 1 / len(_TOPK_FRACTIONS)

    def forward(self, spatial_logits: Tensor) -> Tensor:
        odds = (spatial_logits[:, 1:] - spatial_logits[:, :1]).flatten(2)
        positions = int(odds.shape[2])  # traced graphs would keep a tensor
        counts = [max(1, round(fraction * positions)) for fraction in _TOPK_FRACTIONS]
        highest = odds.topk(max(counts), dim=2).values
        pooled = [highest[:, :, :count].mean(2) for count in counts]
        return self.weigh(torch.cat(pooled, dim=1))


def select_levels(maps: Sequence[Tensor], *, image_size: tuple[int, int]) -> list[int]:
    """Indices of the maps that the head uses: the last of each size, from stride 4 on.

    Shapes: maps (N, C_i, h_i, w_i), from input to output. Returns indices from fine to coarse.
    """
    last = {tuple(features.shape[2:]): index for index, features in enumerate(maps)}
    finest_rows = image_size[0] / _FINEST_STRIDE
    used = [index for size, index in last.items() if size[0] <= finest_rows + 1]
    return sorted(used or [len(maps) - 1])
