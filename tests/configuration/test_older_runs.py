"""Runs that were written before a setting existed are what they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from capsule_inspection.configuration.checks import check
from capsule_inspection.configuration.resume import load_stored

CLASSIFIER = """
task: {name: classification, sampling: balanced, mixup: 0.0}
model: {name: resnet18, _target_: capsule_inspection.networks.classifier.build_timm, pool: own}
data: {mode: resize, painted: null, pasted: null}
split: {name: holdout, val: 0.2, test: 0.2}
"""
ANOTHER = """
task: {name: reconstruction}
model: {name: autoencoder, _target_: capsule_inspection.networks.autoencoder.build_autoencoder}
data: {mode: resize, painted: null, pasted: null}
"""


def test_an_older_classifier_learnt_from_labels_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CLASSIFIER, encoding="utf-8")
    config = load_stored(tmp_path / "config.yaml")
    assert (config.model.mask_loss, config.data.painted, config.data.pasted) == (0, 0, 0)
    assert (config.task.views, config.data.real_defects) == (1, 1)
    check(config)


@pytest.mark.parametrize("text", [CLASSIFIER, ANOTHER])
def test_what_a_run_says_itself_stays(tmp_path: Path, text: str) -> None:
    own = OmegaConf.create(text)
    own.data.real_defects = 0.5
    if own.task.name == "classification":
        own.model.mask_loss = 2.0
    OmegaConf.save(own, tmp_path / "config.yaml")
    found = load_stored(tmp_path / "config.yaml")
    assert found.data.real_defects == 0.5
    if own.task.name == "classification":
        assert found.model.mask_loss == 2.0
    else:
        assert found.data.painted is None
