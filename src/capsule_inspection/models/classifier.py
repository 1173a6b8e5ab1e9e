"""Classifiers: a backbone, global pooling, a linear head, and an optional segmentation head.

Tasks use this interface only. Backbones are in custom_resnet.py, timm_model.py and
torchvision_model.py. Pure torch; training is in tasks/classification/lightning_module.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from capsule_inspection.models.base import Model
from capsule_inspection.models.segmentation_head import SegmentationHead, select_levels
from capsule_inspection.types import ConfigurationError, Normalisation

NO_INTERMEDIATES = (
    "model.mask_loss_weight: this model has no intermediate feature maps to learn from masks. Set "
    "model.mask_loss_weight=0, or choose a convolutional model of timm (model=timm "
    "model.name=...)."
)


class Backbone(nn.Module, ABC):
    """From an image to features, and from features to one vector of D values for each image."""

    vector_size: int

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Features of (N, 3, H, W) in the backbone's own layout; see `to_map` and `to_vector`."""

    @abstractmethod
    def to_vector(self, features: Tensor) -> Tensor:
        """Pool features by the backbone's own pooling. Returns (N, D)."""

    @abstractmethod
    def to_map(self, features: Tensor) -> Tensor:
        """Features as a map (N, C, h, w). Raises ConfigurationError where there is none."""

    def forward_intermediates(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features as of `forward`, and all maps (N, C_i, h_i, w_i) from input to output.

        Raises ConfigurationError where there are none.
        """
        raise ConfigurationError(NO_INTERMEDIATES)

    def from_map(self, last_map: Tensor, features: Tensor) -> Tensor:
        """Features whose map is replaced by (N, C, h, w): the inverse of `to_map`."""
        return last_map

    @abstractmethod
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Every parameter once, in groups ordered from input to output."""

    def convert_state_dict(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A library's own state dict with the names of the classifier (`backbone.*`, `head.*`)."""
        return {f"backbone.{key}": value for key, value in state.items()}


class Classifier(Model):
    """Backbone, pool and head.

    `pool` is a module from maps (N, C, h, w) to vectors (N, D); None is the backbone's own pooling.
    A segmentation head (`add_segmentation_head`) also gives logits for each position of a map; with
    `uses_mask_logits` the image's logits are the sum of both heads'.
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
        self.mask_head: SegmentationHead | None = None
        self.normalisation = normalisation
        # Parameters that an architecture keeps fixed by design never become trainable.
        self._fixed = {name for name, p in self.named_parameters() if not p.requires_grad}

    @property
    def uses_mask_logits(self) -> bool:
        """Whether the image's logits depend on a segmentation head."""
        return self.mask_head is not None and self.mask_head.read is not None

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, C) of normalised images (N, 3, H, W)."""
        if self.uses_mask_logits:
            return self.forward_with_spatial_logits(image)[0]
        return self.head(self.dropout(self.vector(self.backbone(image))))

    def forward_with_spatial_logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, C) of normalised images, and those of each position, (N, C, h, w).

        Only of classifiers with a segmentation head.
        """
        assert self.mask_head is not None
        features, maps = self.backbone.forward_intermediates(image)
        spatial_logits = self.mask_head([maps[level] for level in self._levels])
        logits = self.head(self.dropout(self.vector(features)))
        if self.mask_head.read is not None:
            logits = logits + self.mask_head.read(spatial_logits)
        return logits, spatial_logits

    def add_segmentation_head(
        self, num_classes: int, *, image_size: tuple[int, int], use_mask_logits: bool
    ) -> None:
        """Add a segmentation head for images of (H, W) pixels.

        Raises ConfigurationError where the backbone has no intermediate maps.
        """
        was_training = self.training
        with torch.no_grad():
            image = torch.zeros(1, 3, *image_size)
            maps = self.eval().backbone.forward_intermediates(image)[1]
        self.train(was_training)
        self._levels = select_levels(maps, image_size=image_size)
        channels = [maps[level].shape[1] for level in self._levels]
        self.mask_head = SegmentationHead(channels, num_classes, has_pooling=use_mask_logits)

    def vector(self, features: Tensor) -> Tensor:
        """One vector (N, D) for each image, from the backbone's features."""
        if self.pool is None:
            return self.backbone.to_vector(features)
        return self.pool(self.backbone.to_map(features))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Trainable parameters, each once, in groups from input to head; the heads are last.

        Parameters that were frozen after construction are included.
        """
        fixed = {id(p) for name, p in self.named_parameters() if name in self._fixed}
        last = [*self.head.parameters()]
        for module in (self.pool, self.mask_head):
            last = [*([] if module is None else module.parameters()), *last]
        groups = (
            [p for p in group if id(p) not in fixed] for group in self.backbone.layer_groups()
        )
        return [*(group for group in groups if group), last]


def make_head(vector_size: int, num_classes: int) -> nn.Linear:
    """Linear layer of small weights: all classes are about equally likely at the first step."""
    head = nn.Linear(vector_size, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head
