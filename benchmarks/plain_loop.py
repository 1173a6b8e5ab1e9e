"""Baseline training loop: image files, torchvision's transforms, float32, Adam.

Each epoch decodes and resizes every image in two workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets.folder import pil_loader

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORKERS = 2
LEARNING_RATE = 1e-3

Files = Sequence[tuple[Path, int]]


class FolderImages(Dataset[tuple[Tensor, int]]):
    """As torchvision's ImageFolder, for files that are listed already."""

    def __init__(self, files: Files, *, image_size: tuple[int, int]) -> None:
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize(image_size),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        path, label = self.files[row]
        return self.transform(pil_loader(path)), label


def make_loader(
    files: Files,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    shuffle: bool,
    workers: int = WORKERS,
) -> DataLoader[tuple[Tensor, int]]:
    """Batches of float32 images (N, 3, H, W) and labels (N,), each file once."""
    images = FolderImages(files, image_size=image_size)
    return DataLoader(images, batch_size=batch_size, shuffle=shuffle, num_workers=workers)


class PlainTraining:
    """Network, optimizer and loaders; kept over rounds, so that only epochs are timed."""

    def __init__(
        self,
        *,
        train: Files,
        val: Files,
        num_classes: int,
        image_size: tuple[int, int],
        batch_size: int,
    ) -> None:
        self.network = timm.create_model("resnet18", num_classes=num_classes)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=LEARNING_RATE)
        self.loss = nn.CrossEntropyLoss()
        self.train_loader = make_loader(
            train, image_size=image_size, batch_size=batch_size, shuffle=True
        )
        self.val_loader = make_loader(
            val, image_size=image_size, batch_size=batch_size, shuffle=False
        )

    def time_epoch(self) -> tuple[float, float]:
        """Seconds of the training batches, and of these with the validation."""
        with _full_float32():
            began = time.perf_counter()
            self._train()
            trained = time.perf_counter()
            self._validate()
            return trained - began, time.perf_counter() - began

    def _train(self) -> None:
        self.network.train()
        total = 0.0
        for image, label in self.train_loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.network(image), label)
            loss.backward()
            self.optimizer.step()
            total += loss.item()

    @torch.no_grad()
    def _validate(self) -> None:
        self.network.eval()
        correct = 0
        for image, label in self.val_loader:
            correct += int((self.network(image).argmax(1) == label).sum())


@contextmanager
def _full_float32() -> Iterator[None]:
    """The default of torch, which our trainer changes for the whole process."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
