"""Residual network, to be trained from scratch.

Source: He et al. 2015 (arXiv:1512.03385), section 3.3 and table 1; initialisation from He et al.
2015 (arXiv:1502.01852). Differs: the stride of a bottleneck is in its 3x3 convolution, and the last
scale of a branch starts at zero (Goyal et al. 2017, arXiv:1706.02677). The stem "deep" is from He
et al. 2018 (arXiv:1812.01187). Pure torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from capsule_inspection.models.base import IMAGENET
from capsule_inspection.models.classifier import Backbone, Classifier, make_head
from capsule_inspection.models.layers import make_pool
from capsule_inspection.types import ConfigurationError

STEMS = ("imagenet", "deep")


def make_convolution(inputs: int, outputs: int, *, size: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm; the map keeps its size at stride 1."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Branch plus shortcut, then ReLU. The shortcut projects where sizes differ (option B)."""

    expansion: int = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.branch = self.make_branch(inputs, width, stride)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = make_convolution(inputs, outputs, size=1, stride=stride)
        self.activation = nn.ReLU(inplace=True)

    def make_branch(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.branch(features) + self.shortcut(features))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions."""

    def make_branch(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            make_convolution(inputs, width, size=3, stride=stride),
            nn.ReLU(inplace=True),
            make_convolution(width, width, size=3),
        )


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions; the last widens four times."""

    expansion = 4

    def make_branch(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            make_convolution(inputs, width, size=1),
            nn.ReLU(inplace=True),
            make_convolution(width, width, size=3, stride=stride),
            nn.ReLU(inplace=True),
            make_convolution(width, width * self.expansion, size=1),
        )


BLOCKS: dict[str, type[ResidualBlock]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


def make_stem(name: str, width: int) -> nn.Sequential:
    """First layers, of total stride 4; the last is the max pooling."""
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    if name == "imagenet":
        first = make_convolution(3, width, size=7, stride=2)
        return nn.Sequential(first, nn.ReLU(inplace=True), pool)
    half = max(width // 2, 1)
    return nn.Sequential(
        make_convolution(3, half, size=3, stride=2),
        nn.ReLU(inplace=True),
        make_convolution(half, half, size=3),
        nn.ReLU(inplace=True),
        make_convolution(half, width, size=3),
        nn.ReLU(inplace=True),
        pool,
    )


class ResNetBackbone(Backbone):
    """Stem and stages: `depths[i]` blocks of `width * 2**i` channels (times 4 with bottlenecks).

    `stage_channels` are the channels of the stages' maps; `key` is the group of the settings, for
    messages.
    Raises ConfigurationError for settings that make no network.
    """

    def __init__(
        self,
        *,
        block: str,
        depths: Sequence[int],
        width: int,
        stem: str = "imagenet",
        pool: str = "avg",
        key: str = "model",
    ) -> None:
        super().__init__()
        _check_settings(key, block=block, depths=depths, width=width, stem=stem)
        self.stem = make_stem(stem, width)
        self.stages = nn.ModuleList()
        self.stage_channels: list[int] = []
        block_class, channels = BLOCKS[block], width
        for index, depth in enumerate(depths):
            blocks = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block_class(channels, width * 2**index, stride))
                channels = width * 2**index * block_class.expansion
            self.stages.append(nn.Sequential(*blocks))
            self.stage_channels.append(channels)
        self.own_pool = make_pool(pool)
        self.vector_size = 2 * channels if pool == "catavgmax" else channels

    def forward(self, image: Tensor) -> Tensor:
        return self.forward_intermediates(image)[0]

    def forward_intermediates(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[-1], maps[1:]

    def to_vector(self, features: Tensor) -> Tensor:
        return self.own_pool(features)

    def to_map(self, features: Tensor) -> Tensor:
        return features

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [[*module.parameters()] for module in (self.stem, *self.stages)]


class CustomResNet(Classifier):
    """Residual classifier: `depths` blocks a stage, the first stage `width` channels wide.

    Shapes: image (N, 3, H, W), normalised; returns logits (N, num_classes).
    `depths=(2, 2, 2, 2), width=64` with basic blocks is the ResNet-18 of the paper.
    """

    backbone: ResNetBackbone

    def __init__(
        self,
        num_classes: int,
        *,
        block: str = "basic",
        depths: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        dropout: float = 0.0,
        pool: str = "avg",
    ) -> None:
        pool = "avg" if pool == "default" else pool
        backbone = ResNetBackbone(block=block, depths=depths, width=width, pool=pool)
        _initialise(backbone)
        head = make_head(backbone.vector_size, num_classes)
        super().__init__(backbone, head, normalisation=IMAGENET, dropout=dropout)


def _initialise(backbone: nn.Module) -> None:
    """Kaiming weights; every block starts as its shortcut."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in backbone.modules():
        if isinstance(module, ResidualBlock):
            last_norm = [m for m in module.branch.modules() if isinstance(m, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last_norm.weight)


def _check_settings(key: str, *, block: str, depths: Sequence[int], width: int, stem: str) -> None:
    for name, value, choices in (("block", block, BLOCKS), ("stem", stem, STEMS)):
        if value not in choices:
            raise ConfigurationError(f"{key}.{name}={value}: expected {' or '.join(choices)}.")
    if not depths or any(depth < 1 for depth in depths):
        raise ConfigurationError(
            f"{key}.depths={list(depths)}: expected the number of blocks of each stage, "
            "each at least 1, such as [2,2,2,2]."
        )
    if width < 1:
        raise ConfigurationError(f"{key}.width={width}: expected at least 1 channel.")
