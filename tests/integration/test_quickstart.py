"""experiment=quickstart: ImageNet weights, masks, synthetic and pasted defects, small images."""

from __future__ import annotations

from pathlib import Path

import pytest
from agreement import check_agreement, evaluate, predict_test_images, rows_of_test
from quick import record_of, rows_of
from small import SMALL, Cli


@pytest.mark.slow
def test_quickstart_starts_from_imagenet_weights_and_is_evaluated_and_predicted_alike(
    cli: Cli, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = [*SMALL, "task.epochs=1", "trainer.precision=bf16-mixed", f"hydra.run.dir={run}"]
    result = cli("train", "experiment=quickstart", *settings)
    assert result.status == 0, result.err
    record = record_of(run)
    assert (record["model"], record["weights"]["source"]) == (
        "tf_efficientnet_lite0",
        "imagenet",
    )
    assert float(rows_of(run, "metrics.csv")[0]["train/mask_loss"]) > 0
    evaluate(cli, run, tmp_path / "evaluated")
    assert rows_of(tmp_path / "evaluated") == rows_of_test(run)
    predict_test_images(cli, run, tmp_path / "predicted")
    check_agreement(tmp_path / "predicted", tmp_path / "evaluated")
