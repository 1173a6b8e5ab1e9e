"""Residual network, to be trained from scratch.

Source: He et al. 2015 (arXiv:1512.03385), section 3.3 and table 1; initialisation from He et al.
2015 (arXiv:1502.01852). Differs: the stride of a bottleneck sits in its 3x3 convolution and
the last scale of a branch may start at zero (Goyal et al. 2017, arXiv:1706.02677); the stem "deep"
is from He et al. 2018 (arXiv:1812.01187), "small" from section 4.2 of the first paper.
Pure torch; the builder is classifier.build_custom_resnet.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from capsule_inspection.models.classifier import (
    Backbone,
    Classifier,
    Pool,
    check_pool,
    make_head,
)
from capsule_inspection.types import ConfigurationError, Normalisation

# The figures of ImageNet: the network has no weights of its own that would ask for others.
NORMALISATION = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

STEMS = ("imagenet", "deep", "small")


def convolve(inputs: int, outputs: int, *, size: int, stride: int = 1) -> nn.Sequential:
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
            self.shortcut = convolve(inputs, outputs, size=1, stride=stride)
        self.activation = nn.ReLU(inplace=True)

    def make_branch(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.branch(features) + self.shortcut(features))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions."""

    def make_branch(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            convolve(inputs, width, size=3, stride=stride),
            nn.ReLU(inplace=True),
            convolve(width, width, size=3),
        )


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions; the last widens four times."""

    expansion = 4

    def make_branch(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            convolve(inputs, width, size=1),
            nn.ReLU(inplace=True),
            convolve(width, width, size=3, stride=stride),
            nn.ReLU(inplace=True),
            convolve(width, width * self.expansion, size=1),
        )


BLOCKS: dict[str, type[ResidualBlock]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


def make_stem(kind: str, in_channels: int, width: int) -> nn.Sequential:
    """First layers: "imagenet" and "deep" shrink the image four times, "small" not at all."""
    if kind == "small":
        return nn.Sequential(convolve(in_channels, width, size=3), nn.ReLU(inplace=True))
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    if kind == "imagenet":
        first = convolve(in_channels, width, size=7, stride=2)
        return nn.Sequential(first, nn.ReLU(inplace=True), pool)
    half = max(width // 2, 1)
    return nn.Sequential(
        convolve(in_channels, half, size=3, stride=2),
        nn.ReLU(inplace=True),
        convolve(half, half, size=3),
        nn.ReLU(inplace=True),
        convolve(half, width, size=3),
        nn.ReLU(inplace=True),
        pool,
    )


class ResNetBackbone(Backbone):
    """Stem and stages; stage i has width * 2**i channels (times 4 with bottlenecks).

    `stage_channels` lists the channels of the maps of `stage_maps`.
    """

    def __init__(
        self,
        *,
        block: type[ResidualBlock],
        depths: Sequence[int],
        width: int,
        in_channels: int = 3,
        stem: str = "imagenet",
        pool: str = "average",
    ) -> None:
        super().__init__()
        self.stem = make_stem(stem, in_channels, width)
        self.stages = nn.ModuleList()
        self.stage_channels: list[int] = []
        channels = width
        for index, depth in enumerate(depths):
            blocks = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(channels, width * 2**index, stride))
                channels = width * 2**index * block.expansion
            self.stages.append(nn.Sequential(*blocks))
            self.stage_channels.append(channels)
        self.own_pool = Pool(pool)
        self.vector_size = 2 * channels if pool == "concat" else channels
        self.map_channels = channels

    def forward(self, image: Tensor) -> Tensor:
        return self.stage_maps(image)[-1]

    def with_maps(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = self.stage_maps(image)
        return maps[-1], maps

    def stage_maps(self, image: Tensor) -> list[Tensor]:
        """The map of each stage, (N, C_i, h_i, w_i), from fine to coarse."""
        maps = [self.stem(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def to_vector(self, features: Tensor) -> Tensor:
        return self.own_pool(features)

    def to_map(self, features: Tensor) -> Tensor:
        return features

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [[*part.parameters()] for part in (self.stem, *self.stages)]


class CustomResNet(Classifier):
    """Residual classifier: `depths` blocks a stage, the first stage `width` channels wide.

    Shapes: image (N, in_channels, H, W), normalised; returns logits (N, num_classes).
    `depths=(2, 2, 2, 2), width=64` with basic blocks is the ResNet-18 of the paper.
    Raises ConfigurationError for settings that make no network.
    """

    backbone: ResNetBackbone

    def __init__(
        self,
        num_classes: int,
        *,
        block: str = "basic",
        depths: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        in_channels: int = 3,
        dropout: float = 0.0,
        stem: str = "imagenet",
        pool: str = "average",
        zero_init_residual: bool = True,
    ) -> None:
        check_settings(block=block, depths=depths, width=width, stem=stem, pool=pool)
        check_dropout(dropout)
        backbone = ResNetBackbone(
            block=BLOCKS[block],
            depths=depths,
            width=width,
            in_channels=in_channels,
            stem=stem,
            pool="average" if pool == "own" else pool,
        )
        initialise(backbone, zero_init_residual=zero_init_residual)
        head = make_head(backbone.vector_size, num_classes)
        super().__init__(backbone, head, normalisation=NORMALISATION, dropout=dropout)


def initialise(backbone: nn.Module, *, zero_init_residual: bool) -> None:
    """Kaiming weights; with `zero_init_residual` every block begins as its shortcut."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if not zero_init_residual:
        return
    for module in backbone.modules():
        if isinstance(module, ResidualBlock):
            last_norm = [m for m in module.branch.modules() if isinstance(m, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last_norm.weight)


def check_settings(*, block: str, depths: Sequence[int], width: int, stem: str, pool: str) -> None:
    """Raise ConfigurationError, naming the key, for settings that make no network."""
    if block not in BLOCKS:
        raise ConfigurationError(f"model.block={block}: expected one of {', '.join(BLOCKS)}.")
    if stem not in STEMS:
        raise ConfigurationError(f"model.stem={stem}: expected one of {', '.join(STEMS)}.")
    if not depths or any(depth < 1 for depth in depths):
        raise ConfigurationError(
            f"model.depths={list(depths)}: expected the number of blocks of each stage, "
            "each at least 1, such as [2,2,2,2]."
        )
    if width < 1:
        raise ConfigurationError(f"model.width={width}: expected at least 1 channel.")
    check_pool(pool)


def check_dropout(dropout: float) -> None:
    """Raise ConfigurationError unless 0 <= dropout < 1."""
    if not 0 <= dropout < 1:
        raise ConfigurationError(f"model.dropout={dropout}: expected at least 0 and below 1.")
