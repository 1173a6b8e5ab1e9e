"""Fits and runs one PatchCore on arrays of images; for `benchmarks.anomalib_patchcore`.

Run: python patchcore_worker.py ours|anomalib ARRAYS RESULT
Runs in an environment with this project or with anomalib, and imports only what its side needs.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

BACKBONE = "tf_efficientnet_lite0"
THREADS = 2
BATCH_SIZE = 8
_LAYERS = ("blocks.2", "blocks.4")
"""Names of the maps at strides 8 and 16."""


def build_ours(
    weights: dict[str, Tensor], *, coreset_size: int, image_size: list[int]
) -> nn.Module:
    """PatchCore of this project with given weights."""
    from capsule_inspection.models.factory import BUILDERS
    from capsule_inspection.models.state_dicts import load_encoder

    model = BUILDERS["patchcore"](
        name="patchcore",
        weights="none",
        image_size=image_size,
        encoder=BACKBONE,
        encoder_options={},
        strides=[8, 16],
        neighbourhood=3,
        num_neighbors=1,
        coreset="greedy",
        coreset_size=coreset_size,
        candidates=100_000,
    ).model
    load_encoder(model.encoder, weights, name=BACKBONE, where="the benchmark")
    return model


def build_anomalib(weights: dict[str, Tensor]) -> nn.Module:
    """PatchCore of anomalib with given weights, scored by the nearest patch alone."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    model = PatchcoreModel(_LAYERS, backbone=BACKBONE, pre_trained=False, num_neighbors=1)
    extractor = model.feature_extractor.feature_extractor
    own = extractor.state_dict()
    extractor.load_state_dict({key: weights[key] for key in own if key in weights}, strict=False)
    missing = [key for key in own if key not in weights]
    assert all(key.endswith("num_batches_tracked") for key in missing), missing
    return model


def batches(images: np.ndarray) -> list[Tensor]:
    """Normalised images (N, 3, H, W); mean and deviation of this backbone are .5."""
    return [
        (
            torch.from_numpy(images[first : first + BATCH_SIZE]).permute(0, 3, 1, 2).float() / 255
            - 0.5
        )
        / 0.5
        for first in range(0, len(images), BATCH_SIZE)
    ]


@torch.no_grad()
def fit_ours(model: nn.Module, images: list[Tensor], count: int) -> None:
    """Keep as many patches of each image as a training of the project does, and select the bank."""
    from functools import partial

    per_image = max(1, model.coreset.candidates // count)
    choose = partial(torch.randperm, generator=torch.Generator().manual_seed(0))
    kept = []
    for batch in images:
        patches = model.features(batch).flatten(2).transpose(1, 2)
        kept += [found[choose(len(found))[:per_image]] for found in patches]
    model.fit(torch.cat(kept), seed=0)


@torch.no_grad()
def fit_anomalib(model: nn.Module, images: list[Tensor], count: int, *, ratio: float) -> None:
    """Collect all patches, and select the bank from them."""
    model.train()
    model.feature_extractor.eval()
    for batch in images:
        model(batch)
    model.subsample_embedding(ratio)
    model.eval()


@torch.no_grad()
def distances(side: str, model: nn.Module, batch: Tensor) -> Tensor:
    """Distance of each patch to the bank, (N, h, w)."""
    if side == "ours":
        return model(batch).distance
    features = model.feature_extractor(batch)
    features = {layer: model.feature_pooler(found) for layer, found in features.items()}
    embedding = model.generate_embedding(features)
    patches = model.reshape_embedding(embedding)
    found = model.nearest_neighbors(embedding=patches, n_neighbors=1)[0]
    return found.reshape(len(batch), *embedding.shape[2:])


def main(side: str, arrays: str, result: str) -> None:
    """Fit, predict with the side's own bank and with a shared one, and save what was measured."""
    torch.set_num_threads(THREADS)
    if side == "ours":
        from capsule_inspection.data.parallel import keep_freed_memory

        keep_freed_memory()  # as every command of the project does
    given = np.load(arrays)
    weights = load_file(str(given["weights"]))
    train, test = batches(given["train"]), batches(given["test"])
    count, size = len(given["train"]), int(given["coreset_size"])
    torch.manual_seed(0)
    if side == "ours":
        model = build_ours(weights, coreset_size=size, image_size=[*given["train"].shape[1:3]])
    else:
        model = build_anomalib(weights)
    distances_of_warm_up = model.encoder if side == "ours" else model.feature_extractor
    with torch.no_grad():
        distances_of_warm_up(test[0])
        began = time.perf_counter()
        for batch in test:
            distances_of_warm_up(batch)
        backbone_s = time.perf_counter() - began
    began = time.perf_counter()
    if side == "ours":
        fit_ours(model, train, count)
    else:
        patches = count * (given["train"].shape[1] // 8) * (given["train"].shape[2] // 8)
        fit_anomalib(model, train, count, ratio=size / patches)
    fit_s = time.perf_counter() - began
    centre = model.centre.flatten() if side == "ours" else 0  # our features are centred
    own_bank = model.memory_bank + centre
    began = time.perf_counter()
    own = torch.cat([distances(side, model, batch) for batch in test])
    predict_s = time.perf_counter() - began
    shared = np.zeros(0)
    if "bank" in given:
        model.memory_bank = torch.from_numpy(given["bank"]) - centre
        shared = torch.cat([distances(side, model, batch) for batch in test]).numpy()
    np.savez(
        result,
        fit_s=fit_s,
        predict_s=predict_s,
        backbone_s=backbone_s,
        own=own.numpy(),
        shared=shared,
        bank=own_bank.numpy(),
        peak_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
