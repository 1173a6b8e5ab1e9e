"""Small models with random weights, checks of every model, and files of weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from capsule_inspection.models.base import Model
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.models.factory import build_custom_resnet, build_timm, build_torchvision

SIZE = (64, 96)
CLASSES = 4
BUILDERS = {"timm": build_timm, "torchvision": build_torchvision}


def classifier(description: str, *, seed: int = 0, **settings: Any) -> Classifier:
    """One of "custom_resnet", "timm <name>" and "torchvision <name>"."""
    torch.manual_seed(seed)
    given = {"num_classes": CLASSES, "weights": "none", "image_size": SIZE, **settings}
    library, _, name = description.partition(" ")
    if library == "custom_resnet":
        built = build_custom_resnet(**({"depths": [1, 1], "width": 8} | given))
    else:
        built = BUILDERS[library](name=name, **given)
    assert isinstance(built.model, Classifier)
    return built.model


def saved(content: Any, name: str = "w.pth") -> str:
    """Write a file of weights below the working directory, of the format of its suffix."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return name


def check_gradients(network: nn.Module) -> None:
    """Every parameter has a finite gradient."""
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def check_groups(network: Model, head: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Each parameter that learns is in one group, those of the head in the last."""
    groups = network.layer_groups()
    listed = [id(parameter) for group in groups for parameter in group]
    assert sorted(listed) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    assert {id(p) for p in groups[-1]} == {id(p) for p in head}
    assert all(groups)
    return groups
