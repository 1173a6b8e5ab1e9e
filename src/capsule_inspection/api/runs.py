"""`train`, `evaluate` and `compare`: the commands as functions, and what they return.

They take the settings of the commands, run the same code and write the same files. Results are read
from the folder that was written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from capsule_inspection import commands
from capsule_inspection.config import calls
from capsule_inspection.config.checks import check_single_process
from capsule_inspection.config.quoting import quote
from capsule_inspection.types import ConfigurationError, Estimate, RunFiles

if TYPE_CHECKING:
    import pandas as pd

    from capsule_inspection.api.model import Model
    from capsule_inspection.reports.run.run_folder import RunFolder

RunPath = str | os.PathLike[str]


@dataclass(frozen=True)
class EvaluatedRun:
    """Metrics and predictions in a folder; `report` is their page."""

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def report(self) -> Path:
        return self.folder / RunFiles.PAGE

    @property
    def data_root(self) -> Path:
        """The folder of the images: `path` in `predictions` is relative to it."""
        return Path(self._run.record["data"]["root"])

    @cached_property
    def _run(self) -> RunFolder:
        from capsule_inspection.reports.run.run_folder import read_run

        return read_run(self.folder)

    @property
    def metrics(self) -> Mapping[str, Estimate]:
        """Metrics with 95% intervals by name, such as `test/balanced_accuracy`."""
        return self._run.metrics

    @property
    def predictions(self) -> pd.DataFrame:
        """The columns of predictions.csv: a row for each image of each predicted split."""
        return self._run.predictions

    def to_pandas(self) -> pd.DataFrame:
        """The metrics as a table: value, low and high of the 95% interval, n."""
        import pandas as pd

        rows = {name: estimate.as_dict() for name, estimate in self.metrics.items()}
        columns = ["value", "low", "high", "n"]
        return pd.DataFrame.from_dict(rows, orient="index", columns=columns)

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html())


@dataclass(frozen=True)
class TrainedRun(EvaluatedRun):
    """A finished run folder, which all functions take in place of its path."""

    @property
    def epochs(self) -> pd.DataFrame:
        """The columns of metrics.csv: a row for each epoch, NaN where nothing was measured."""
        return self._run.epochs

    def load_model(self) -> Model:
        """The trained model, by `load_model` with its default settings."""
        from capsule_inspection.api.model import load_model

        return load_model(self.folder)


@dataclass(frozen=True)
class ComparedRuns:
    """A comparison in a folder; `report` is its page."""

    folder: Path

    @property
    def report(self) -> Path:
        from capsule_inspection.reports.comparison.report import PAGE

        return self.folder / PAGE

    @cached_property
    def _content(self) -> dict[str, Any]:
        from capsule_inspection.reports.comparison.report import JSON

        content: dict[str, Any] = json.loads((self.folder / JSON).read_text(encoding="utf-8"))
        return content

    @property
    def recommendation(self) -> str:
        """Which model to use, and why; or why none is recommended."""
        return str(self._content["recommendation"]["text"])

    def to_pandas(self) -> pd.DataFrame:
        """The columns of comparison.csv: a row for each model, with metrics, limits and costs."""
        import pandas as pd

        from capsule_inspection.reports.comparison.report import TABLE

        return pd.read_csv(self.folder / TABLE, index_col="model")

    @property
    def pairs(self) -> pd.DataFrame:
        """A row for each metric of each pair of models: the difference, its interval and p-value.

        `better` is the model that the primary metric shows to be better, None where it shows none.
        """
        import pandas as pd

        rows = [
            {
                **{key: pair[key] for key in ("first", "second", "images", "verdict", "better")},
                "metric": metric,
                **difference,
            }
            for pair in self._content["pairs"]
            for metric, difference in pair["differences"].items()
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html())


def train(overrides: Sequence[str] = ()) -> TrainedRun:
    """Train a model as train.py does; returns the finished run.

    `overrides` are the settings that follow `train.py` on the command line, unquoted:
    `["model=unet", f"data.root={folder}", "task.epochs=5"]`. Progress is printed as by the command.
    One model is trained at a time: no sweep, one process. Seeds the random numbers of Python,
    NumPy and torch.

    Raises InspectionError (ConfigurationError, DataError, WeightsError, RunError) with the
    messages of the command, and KeyboardInterrupt, after which `train(["resume=<folder>"])` goes
    on.

    >>> from capsule_inspection import train
    >>> run = train(["data=mvtec", "data.root=bottle", "task.epochs=1"])  # doctest: +ELLIPSIS
    Run folder...
    >>> run.metrics["val/auroc"].n
    4
    """
    return TrainedRun(_call("train", overrides))


def evaluate(run: RunPath, overrides: Sequence[str] = ()) -> EvaluatedRun:
    """Evaluate a run as evaluate.py does, on its test images or others.

    `overrides` are the settings of the command, such as `["data=mvtec", "data.root=/other",
    "split=test_only"]` or `["threshold=0.3"]`. Raises InspectionError as the command does.

    >>> from capsule_inspection import evaluate
    >>> evaluation = evaluate("outputs/classification/custom_resnet/example")  # doctest: +ELLIPSIS
    MVTec AD in...
    >>> evaluation.to_pandas().columns.tolist()
    ['value', 'low', 'high', 'n']
    """
    return EvaluatedRun(_call("evaluate", [f"run={_quoted(run)}", *_checked(overrides)]))


def compare(runs: Iterable[RunPath], overrides: Sequence[str] = ()) -> ComparedRuns:
    """Compare finished runs as compare.py does; the folder of a sweep stands for its runs.

    `overrides` are the settings of the command, such as `["compare.primary=auroc"]`. Raises
    InspectionError as the command does.

    >>> from capsule_inspection import compare
    >>> runs = ["outputs/classification/custom_resnet/example"]
    >>> comparison = compare(runs)  # doctest: +ELLIPSIS
    Test images...
    >>> comparison.to_pandas().index.tolist()
    ['custom_resnet']
    """
    if isinstance(runs, str | os.PathLike):
        raise ConfigurationError(f"runs={os.fspath(runs)}: expected a list of runs, such as [run].")
    listed = ",".join(_quoted(run) for run in runs)
    return ComparedRuns(_call("compare", [f"runs=[{listed}]", *_checked(overrides)]))


def _quoted(run: RunPath) -> str:
    return quote(os.path.expanduser(run))  # noqa: PTH111 - also names such as latest


def _checked(overrides: Sequence[str]) -> Sequence[str]:
    # A generator would be empty after the check, and an empty list trains by the defaults.
    is_list = isinstance(overrides, Sequence) and not isinstance(overrides, str)
    if not is_list or not all(isinstance(each, str) for each in overrides):
        raise ConfigurationError(
            f"overrides={overrides!r}: expected a list of settings as texts, such as "
            "['model=unet', 'seed=1']."
        )
    return overrides


def _call(command: str, overrides: Sequence[str]) -> Path:
    """Run a command; returns the folder that it has written."""
    folders: list[Path] = []

    def act(config: DictConfig) -> None:
        if config.get("inspect"):
            raise ConfigurationError("inspect=true: trains no model. Use train.py.")
        if command == "train":
            check_single_process(config)
            if config.trainer.devices == "auto":
                raise ConfigurationError(
                    "trainer.devices=auto: from Python one device is used. Set it to 1."
                )
        commands.ACTIONS[command](config)
        folders.append(Path(config.get("resume") or HydraConfig.get().runtime.output_dir))

    calls.call(act, _checked(overrides), config_folder=commands.CONF, name=command)
    return folders[0].absolute()
