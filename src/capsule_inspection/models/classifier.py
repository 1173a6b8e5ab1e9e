"""The common face of all classifiers, and their builders (the `_target_` of conf/model/*.yaml).

A classifier is backbone, pool and head; tasks know nothing else of it. The backbone can be
reused as an encoder, and the pool exchanged for any module from maps to vectors.
Pure torch; training lives in tasks/classification_/lightning_module.py, the source of weights in weights.py.
timm and torchvision take seconds to import and are imported by the builder that needs them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from capsule_inspection.models.base import BuiltNetwork, Network
from capsule_inspection.models.mask_head import MaskHead, levels
from capsule_inspection.types import ConfigurationError, Normalisation

if TYPE_CHECKING:
    from capsule_inspection.models.published import PublishedWeights

POOLS = ("own", "average", "max", "average_max", "concat", "topk")
_TOP_SHARE = 0.1
"""Of a map's places, those that the pool topk takes of each channel."""
NO_MAPS = (
    "model.mask_loss: this network gives no maps of several sizes that masks could teach. Set "
    "model.mask_loss=0, or choose a convolutional network of timm (model=timm model.name=...)."
)


class Backbone(nn.Module, ABC):
    """From an image to features, and from features to one vector an image.

    `vector_size` is the length D of the vector, `map_channels` the channels C of the feature map,
    None where the network gives no map.
    """

    vector_size: int
    map_channels: int | None

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Features of (N, 3, H, W) in the network's own layout; see `to_map` and `to_vector`."""

    @abstractmethod
    def to_vector(self, features: Tensor) -> Tensor:
        """Pool features as the network itself does. Returns (N, D)."""

    @abstractmethod
    def to_map(self, features: Tensor) -> Tensor:
        """Features as a map (N, C, h, w). Raises ConfigurationError where there is none."""

    def with_maps(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `forward` gives, and the maps (N, C_i, h_i, w_i) on the way, from input to output.

        Raises ConfigurationError where there are none.
        """
        raise ConfigurationError(NO_MAPS)

    def from_map(self, last_map: Tensor, features: Tensor) -> Tensor:
        """These features with another map (N, C, h, w) in them: what undoes `to_map`."""
        return last_map

    @abstractmethod
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Every parameter once, in groups ordered from input to output."""

    def rename_bare(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keys of the bare network's file as keys of the classifier (`backbone.*`, `head.*`)."""
        return {f"backbone.{key}": value for key, value in state.items()}


class Classifier(Network):
    """Backbone, pool and head.

    `pool` is a module from maps (N, C, h, w) to vectors (N, D); None stands for the backbone's
    own pooling. With a mask head (`add_mask_head`) it says of places, too, which defect they show,
    and where `reads_mask`, the logits of the image are the sum of both heads'.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        *,
        normalisation: Normalisation,
        pool: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self.mask_head: MaskHead | None = None
        self.normalisation = normalisation
        # Positions that a network keeps fixed by design never become trainable.
        self._fixed = {name for name, p in self.named_parameters() if not p.requires_grad}

    @property
    def reads_mask(self) -> bool:
        """Whether the answer depends on a mask head."""
        return self.mask_head is not None and self.mask_head.read is not None

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, 3, H, W)."""
        if self.reads_mask:
            return self.with_places(image)[0]
        return self.head(self.dropout(self.vector(self.backbone(image))))

    def with_places(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of normalised images, (N, C), and of the places of each, (N, C, h, w).

        Only of classifiers with a mask head.
        """
        assert self.mask_head is not None
        features, maps = self.backbone.with_maps(image)
        places = self.mask_head([maps[number] for number in self._levels])
        logits = self.head(self.dropout(self.vector(features)))
        if self.mask_head.read is not None:
            logits = logits + self.mask_head.read(places)
        return logits, places

    def add_mask_head(
        self, num_classes: int, *, image_size: tuple[int, int], reads_mask: bool
    ) -> None:
        """Give it a mask head for images of (H, W) pixels; `reads_mask`: its answer depends on it.

        Raises ConfigurationError where the backbone has no maps.
        """
        was_training = self.training
        with torch.no_grad():
            maps = self.eval().backbone.with_maps(torch.zeros(1, 3, *image_size))[1]
        self.train(was_training)
        self._levels = levels(maps, image_size=image_size)
        channels = [maps[number].shape[1] for number in self._levels]
        self.mask_head = MaskHead(channels, num_classes, is_read=reads_mask)

    def vector(self, features: Tensor) -> Tensor:
        """One vector (N, D) an image, from the backbone's features."""
        if self.pool is None:
            return self.backbone.to_vector(features)
        return self.pool(self.backbone.to_map(features))

    def feature_map(self, image: Tensor) -> Tensor:
        """The backbone's last map (N, C, h, w) of normalised images (N, 3, H, W)."""
        return self.backbone.to_map(self.backbone(image))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Trainable parameters, each once, in groups from input to head; the last is the head.

        Parameters that were frozen after construction are listed all the same.
        """
        fixed = {id(p) for name, p in self.named_parameters() if name in self._fixed}
        last = [*self.head.parameters()]
        for part in (self.pool, self.mask_head):
            last = [*([] if part is None else part.parameters()), *last]
        groups = (
            [p for p in group if id(p) not in fixed] for group in self.backbone.layer_groups()
        )
        return [*(group for group in groups if group), last]


class Pool(nn.Module):
    """Global pooling of a map (N, C, h, w) to a vector (N, C): average, max, their mean, topk.

    `concat` puts average and max behind each other: (N, 2 C). `topk` is the mean of the highest
    tenth of the places of each channel: what is small is not lost among all that is good.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, features: Tensor) -> Tensor:
        if self.kind == "max":
            return features.amax(dim=(2, 3))
        if self.kind == "topk":
            places = features.flatten(2)
            count = max(1, round(_TOP_SHARE * int(places.shape[2])))
            return places.topk(count, dim=2).values.mean(2)
        average = features.mean(dim=(2, 3))
        if self.kind == "concat":
            return torch.cat([average, features.amax(dim=(2, 3))], dim=1)
        if self.kind == "average_max":
            return 0.5 * (average + features.amax(dim=(2, 3)))
        return average


def make_head(vector_size: int, num_classes: int) -> nn.Linear:
    """Linear layer of small weights: all classes are about equally likely at the first step."""
    head = nn.Linear(vector_size, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def check_pool(pool: str) -> None:
    """Raise ConfigurationError where `pool` is not one of POOLS."""
    if pool not in POOLS:
        raise ConfigurationError(f"model.pool={pool}: expected one of {', '.join(POOLS)}.")


def parameters_by_child(module: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters in groups, one for each child in order; those of a Sequential stand alone.

    A transformer's encoder is a child that keeps its blocks in `layers`.
    """
    groups: list[list[nn.Parameter]] = [[*module.parameters(recurse=False)]]
    for child in module.children():
        if isinstance(child, nn.Sequential) and len(child) > 1:
            groups += [[*grandchild.parameters()] for grandchild in child]
        elif isinstance(getattr(child, "layers", None), nn.Sequential):
            groups += parameters_by_child(child)
        else:
            groups.append([*child.parameters()])
    return [group for group in groups if group]


def build_custom_resnet(
    *,
    num_classes: int,
    weights: str = "auto",
    name: str = "custom_resnet",
    block: str = "basic",
    depths: Sequence[int] = (2, 2, 2, 2),
    width: int = 64,
    dropout: float = 0.0,
    stem: str = "imagenet",
    pool: str = "average",
    zero_init_residual: bool = True,
    image_size: Sequence[int] = (224, 224),
    mask_loss: float = 0.0,
    reads_mask: bool = True,
) -> BuiltNetwork:
    """Residual network of custom_resnet.py; for the settings see `CustomResNet`.

    With a `mask_loss` above 0 it gets a mask head, for images of `image_size` (H, W) pixels.
    Raises ConfigurationError for impossible settings, WeightsError for unusable weights.
    """
    from capsule_inspection.models.custom_resnet import CustomResNet
    from capsule_inspection.models.published import PublishedWeights

    network = CustomResNet(
        num_classes,
        block=block,
        depths=tuple(depths),
        width=width,
        dropout=dropout,
        stem=stem,
        pool=pool,
        zero_init_residual=zero_init_residual,
    )
    if mask_loss > 0:
        size = (image_size[0], image_size[1])
        network.add_mask_head(num_classes, image_size=size, reads_mask=reads_mask)
    return _with_weights(network, PublishedWeights(name=name), choice=weights)


def build_timm(
    *,
    name: str,
    num_classes: int,
    weights: str = "auto",
    image_size: Sequence[int] = (224, 224),
    pool: str = "own",
    options: Mapping[str, Any] | None = None,
    mask_loss: float = 0.0,
    reads_mask: bool = True,
) -> BuiltNetwork:
    """Any classifier of timm; `options` go to its constructor (`drop_rate`, `drop_path_rate`).

    `image_size` is (H, W) in pixels and used by networks that are built for one size. With a
    `mask_loss` above 0 it gets a mask head.
    Raises ConfigurationError for an unknown name or option, WeightsError for unusable weights.
    """
    from capsule_inspection.models.timm_network import make_timm

    size = (image_size[0], image_size[1])
    network, published = make_timm(
        name=name,
        num_classes=num_classes,
        image_size=size,
        pool=pool,
        options=dict(options or {}),
    )
    if mask_loss > 0:
        network.add_mask_head(num_classes, image_size=size, reads_mask=reads_mask)
    return _with_weights(network, published, choice=weights)


def build_torchvision(
    *,
    name: str,
    num_classes: int,
    weights: str = "auto",
    image_size: Sequence[int] = (224, 224),
    pool: str = "own",
    options: Mapping[str, Any] | None = None,
    mask_loss: float = 0.0,
    reads_mask: bool = True,
) -> BuiltNetwork:
    """Any classifier of torchvision; `options` go to its constructor (`dropout`).

    `image_size` is (H, W) in pixels and used by networks that are built for one size.
    Raises ConfigurationError for an unknown name or option, WeightsError for unusable weights.
    """
    from capsule_inspection.models.torchvision_network import make_torchvision

    size = (image_size[0], image_size[1])
    network, published = make_torchvision(
        name=name,
        num_classes=num_classes,
        image_size=size,
        pool=pool,
        options=dict(options or {}),
    )
    if mask_loss > 0:
        network.add_mask_head(num_classes, image_size=size, reads_mask=reads_mask)
    return _with_weights(network, published, choice=weights)


def _with_weights(network: Classifier, published: PublishedWeights, *, choice: str) -> BuiltNetwork:
    from capsule_inspection.models.weights import load_weights

    return BuiltNetwork(network, load_weights(network, choice=choice, published=published))


@torch.no_grad()
def check_forward(network: Classifier, image_size: tuple[int, int]) -> None:
    """Run one black image through a network that is built for one size.

    Raises ConfigurationError where the network cannot take images of (H, W) pixels.
    """
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, 3, *image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigurationError(
            f"data.image_size={list(image_size)} does not fit this network: {error}. "
            "Choose another size, or another model.name."
        ) from error
    finally:
        network.train(was_training)
