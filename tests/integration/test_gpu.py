"""A run on a GPU: `python -m pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from quick import record_of, rows_of
from small import SMALL, SMALL_NETWORK, Cli

SETTINGS = (*(setting for setting in SMALL if not setting.startswith("trainer")), *SMALL_NETWORK)


@pytest.mark.gpu
def test_a_run_is_evaluated_to_the_same_answers(cli: Cli, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU on this machine")
    run, output = tmp_path / "run", tmp_path / "evaluated"
    result = cli("train", *SETTINGS, "trainer=gpu", f"hydra.run.dir={run}")
    assert result.status == 0, result.err
    assert record_of(run)["hardware"]["device"] == "cuda"
    result = cli("evaluate", f"run={run}", f"output={output}", "trainer=gpu")
    assert result.status == 0, result.err
    found, expected = rows_of(output), [row for row in rows_of(run) if row["split"] == "test"]
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    assert [float(row["score"]) for row in found] == pytest.approx(
        [float(row["score"]) for row in expected], abs=1e-3
    )
