"""The task of autoencoders: what a step minimises, and what is said of an image."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from plain_map import PLAIN_MAP
from small_tasks import learning

from capsule_inspection.models.autoencoder import Autoencoder, Reconstruction
from capsule_inspection.models.reconstruction_losses import HeadLoss, ReconstructionLoss
from capsule_inspection.tasks.anomaly_detection import lightning_module as tasks
from capsule_inspection.types import Batch

SETTINGS = dataclasses.replace(PLAIN_MAP, normalise=True, foreground=True)


def make_task(*, head_width: int = 4) -> tasks.ReconstructionTask:
    torch.manual_seed(0)
    network = Autoencoder(width=4, depth=2, bottleneck=4, skips=True, head_width=head_width)
    return tasks.ReconstructionTask(
        network,
        loss=ReconstructionLoss({"l1": 1.0}, network.normalisation),
        head_loss=HeadLoss(),
        head_weight=2.0,
        settings=SETTINGS,
        normalisation=network.normalisation,
        learning=learning(),
    ).eval()


def make_batch() -> Batch:
    image = torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(3, 16, 24, dtype=torch.uint8)
    mask[1, 4:9, 6:12] = 1
    foreground = torch.zeros(3, 16, 24, dtype=torch.bool)
    foreground[:, 2:14, 4:20] = True
    return Batch(
        image=image,
        target=image.clone(),
        mask=mask,
        label=torch.tensor([0, 2, 0]),
        index=torch.tensor([5, 7, 9]),
        valid=torch.ones(3, 16, 24, dtype=torch.bool),
        foreground=foreground,
    )


def test_a_step_minimises_reconstruction_and_head_as_weighted() -> None:
    task, plain, batch = make_task(), make_task(head_width=0), make_batch()
    with torch.no_grad():
        total = float(task.training_step(batch, 0))
        plain.training_step(batch, 0)
    figures = task.train_figures.finish("train")
    expected = figures["train/reconstruction"] + 2.0 * figures["train/segmentation"]
    assert total == pytest.approx(expected, rel=1e-5)
    assert figures["train/loss"] == pytest.approx(total, rel=1e-5)
    assert set(plain.train_figures.finish("train")) == {"train/loss", "train/reconstruction"}
    assert plain.uses_residual
    assert not plain.uses_head


def test_means_of_an_epoch_are_over_its_images() -> None:
    means = tasks.EpochMeans(("reconstruction",))
    for value, count in ((1.0, 3), (5.0, 1)):
        loss = torch.tensor(value)
        means.update({"loss": loss, "reconstruction": 2 * loss}, count=count)
    assert means.finish("val") == {"val/loss": 2.0, "val/reconstruction": 4.0}


def test_scores_come_alone_and_maps_with_what_was_drawn() -> None:
    task, batch = make_task(), make_batch()
    with torch.no_grad():
        scores = task.predict_step(batch, 0)
        task.asked = tasks.MAPS
        maps = task.predict_step(batch, 0)
    assert set(scores) == {"index", "label", "score"}
    assert scores["index"].tolist() == [5, 7, 9]
    assert torch.equal(scores["score"], maps["score"])
    assert (maps["map"].shape, maps["map"].dtype) == ((3, 16, 24), torch.float16)
    assert maps["reconstruction"].shape == (3, 3, 16, 24)
    assert not maps["map"][~batch["foreground"]].any()


def test_squares_of_residuals_add_up_and_a_known_spread_divides_the_residual() -> None:
    task, batch = make_task(head_width=0), make_batch()
    with torch.no_grad():
        plain = task.predict_step(batch, 0)["score"]
        task.asked = tasks.SQUARES
        found = task.predict_step(batch, 0)
        task.asked = tasks.SCORES
        task.spread = torch.full((1, 16, 24), 0.5)
        divided = task.predict_step(batch, 0)["score"]
    assert found["square"].shape == (1, 16, 24)
    assert found["count"] == 3
    assert float(found["square"].min()) >= 0
    torch.testing.assert_close(divided, 2 * plain)


def test_half_precision_is_for_the_network_alone() -> None:
    task, batch = make_task(head_width=0), make_batch()
    task.settings = dataclasses.replace(SETTINGS, ms_ssim=1.0, smoothing=0.1)
    task.asked = tasks.MAPS
    batch["image"] = batch["image"].clamp(-1, 1)  # colours that a screen can show
    output = Reconstruction(batch["image"], None)  # a perfect reconstruction
    task.network.forward = lambda image: output
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = task.predict_step(batch, 0)
    assert float(found["map"].max()) < 1e-3
    assert float(found["score"].max()) < 1e-3
