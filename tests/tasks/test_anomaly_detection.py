"""The LightningModule of anomaly detection, and its inference model."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from plain_map import PLAIN_MAP
from small_tasks import optimization
from torch import Tensor

from capsule_inspection.models.autoencoder import Autoencoder, Reconstruction
from capsule_inspection.models.losses.reconstruction import HeadLoss, ReconstructionLoss
from capsule_inspection.tasks.anomaly_detection.inference_model import (
    AnomalyDetectionInferenceModel,
)
from capsule_inspection.tasks.anomaly_detection.lightning_module import (
    AnomalyDetectionModule,
)
from capsule_inspection.tasks.base import EpochMeans
from capsule_inspection.types import Batch

SETTINGS = dataclasses.replace(PLAIN_MAP, normalise=True, foreground=True)


def make_task(*, head_width: int = 4) -> AnomalyDetectionModule:
    torch.manual_seed(0)
    network = Autoencoder(width=4, depth=2, bottleneck=4, skips=True, head_width=head_width)
    return AnomalyDetectionModule(
        network,
        loss=ReconstructionLoss({"l1": 1.0}, network.normalisation),
        head_loss=HeadLoss(),
        head_weight=2.0,
        optimization=optimization(),
    ).eval()


def make_model(*, head_width: int = 4) -> AnomalyDetectionInferenceModel:
    return AnomalyDetectionInferenceModel(
        make_task(head_width=head_width).network,
        channels_last=False,
        settings=SETTINGS,
        residual_std=None,
    ).eval()


def make_batch() -> Batch:
    image = torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(3, 16, 24, dtype=torch.uint8)
    mask[1, 4:9, 6:12] = 1
    return Batch(
        image=image,
        target=image.clone(),
        mask=mask,
        label=torch.tensor([0, 2, 0]),
        index=torch.tensor([5, 7, 9]),
        valid=torch.ones(3, 16, 24, dtype=torch.bool),
    )


def test_a_step_minimises_reconstruction_and_head_as_weighted() -> None:
    task, plain, batch = make_task(), make_task(head_width=0), make_batch()
    with torch.no_grad():
        total = float(task.training_step(batch, 0))
        plain.training_step(batch, 0)
    figures = task.train_means.compute_and_reset("train")
    expected = figures["train/reconstruction"] + 2.0 * figures["train/segmentation"]
    assert total == pytest.approx(expected, rel=1e-5)
    assert figures["train/loss"] == pytest.approx(total, rel=1e-5)
    assert set(plain.train_means.compute_and_reset("train")) == {
        "train/loss",
        "train/reconstruction",
    }


def test_a_step_asks_for_nothing_on_ignored_pixels() -> None:
    task, batch = make_task(), make_batch()
    ignored = torch.zeros(3, 16, 24, dtype=torch.bool)
    ignored[:, 10:] = True
    other = {**batch, "target": batch["target"] + 9.0 * ignored[:, None]}
    with torch.no_grad():
        losses = [float(task.training_step(of, 0)) for of in (batch, other)]
        kept = [float(task.training_step({**of, "ignored": ignored}, 0)) for of in (batch, other)]
    assert kept[0] == kept[1] < losses[0] < losses[1]


def test_means_of_an_epoch_are_over_its_images() -> None:
    means = EpochMeans("loss", "reconstruction")
    for value, count in ((1.0, 3), (5.0, 1)):
        loss = torch.tensor(value)
        means.update({"loss": loss, "reconstruction": 2 * loss}, count=count)
    assert means.compute_and_reset("val") == {"val/loss": 2.0, "val/reconstruction": 4.0}


def run(
    model: AnomalyDetectionInferenceModel, foreground: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Map and score of three crops of noise."""
    image = torch.randint(0, 256, (3, 16, 24, 3), generator=torch.Generator().manual_seed(1))
    ones = torch.ones(3, 16, 24, dtype=torch.uint8)
    with torch.no_grad():
        anomaly_map, score = model(
            image.to(torch.uint8), ones if foreground is None else foreground, ones
        )
    return anomaly_map, score


def test_maps_are_zero_outside_of_the_part() -> None:
    foreground = torch.zeros(3, 16, 24, dtype=torch.uint8)
    foreground[:, 2:14, 4:20] = 1
    anomaly_map, score = run(make_model(), foreground)
    assert (anomaly_map.shape, score.shape) == ((3, 16, 24), (3,))
    assert (anomaly_map.dtype, score.dtype) == (torch.float32, torch.float64)
    assert not anomaly_map[foreground == 0].any()


def test_squared_residuals_are_summed_and_their_standard_deviation_divides_the_residual() -> None:
    model = make_model(head_width=0)
    _, plain = run(model)
    crops = torch.randint(0, 256, (3, 16, 24, 3)).to(torch.uint8)
    with torch.no_grad():
        squares = model.squared_residuals(crops)
        parts = [model.squared_residuals(crop[None]) for crop in crops]
    assert squares.shape == (1, 16, 24)
    assert float(squares.min()) >= 0
    torch.testing.assert_close(squares, torch.stack(parts).sum(0))
    model.residual_std = torch.full((1, 16, 24), 0.5)
    _, divided = run(model)
    torch.testing.assert_close(divided, 2 * plain)


def test_half_precision_is_for_the_network_alone() -> None:
    model = make_model(head_width=0)
    model.settings = dataclasses.replace(SETTINGS, ms_ssim=1.0, smoothing=0.1)
    model.network.forward = lambda image: Reconstruction(image, None)  # a perfect one
    with torch.autocast("cpu", torch.bfloat16):
        anomaly_map, score = run(model)
    assert float(anomaly_map.max()) < 1e-3
    assert float(score.max()) < 1e-3
