"""Invalid command lines: one helpful message, exit status 2, without importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from quick import check_error
from small import REPOSITORY, Cli

from capsule_inspection.config.checks import check, check_additions
from capsule_inspection.config.messages import CONFIGURATION_EXCEPTIONS, explain
from capsule_inspection.types import ConfigurationError

Compose = Callable[..., DictConfig]
COMPOSED = {
    "model=resnt18": "Did you mean model=resnet18",
    "modl=resnet18": "Did you mean model",
    "optimizer.lrr=1": "Did you mean optimizer.lr",
    "data.workers=abc": "data.workers: ",
    "optimizer.lr=1e-3s": "optimizer.lr: ",
    "model.depth=50": "model.depths",
    "trainer.max_epoch=3": "trainer.max_epochs",
    "sed=1": "Did you mean seed",
    "experiment=quickstrat": "experiment=quickstart",
    "callbacks.early_stopping.patience=soon": "callbacks.early_stopping.patience",
    "model=resnet18 model.width=8": "model.width: there is no such setting",
    "compare.margin=null": "compare.margin=null: expected a value. Give one",
    "compare.primary=[auroc]": "compare.primary: Cannot convert 'list' to string",
    "cost.false_negative=[1]": "'[1]' of type 'list' could not be converted to Float",
    "optimizer=sgd optimizer.betas=[0.9,0.9]": "optimizer.betas: there is no such setting",
}
"""Mistakes that Hydra finds during composition."""
CHECKED = {
    "task.epochs=0": "expected a value from 1",
    "data.roi=[1,2]": "expected auto, none or [x0,y0,x1,y1]",
    "data.roi=[9,9,1,1]": "x0 < x1",
    "data.on_bad_file=skp": "Did you mean skip?",
    "data.image_size=[1,2,3]": "[height,width]",
    "data.image_size=[8,8]": "16 to 8192",
    "trainer.precision=bf17-mixed": "Did you mean bf16-mixed",
    "trainer.precision=bf16-true": "trainer.precision=bf16-true: not a choice",
    "split.val=0.9": "leave no training images",
    "task.monitor=train/loss": "expected a validation metric",
    "data.root=???": "data.root is required",
    "model.name=resnet18": "model=custom_resnet has one network only",
    "model.block=botleneck": "bottleneck",
    "model.pool=topk5": "Did you mean topk",
    "data.name=from_run": "data=from_run: only for evaluate.py and export.py",
    "split.name=from_run": "split=from_run: only for evaluate.py and export.py",
    "data.synthetic_defects=1.5": "data.synthetic_defects=1.5: expected a value from 0 to 1",
    "data.copy_paste=-0.1": "data.copy_paste=-0.1: expected a value from 0 to 1",
    "data.synthesis.nsa_fraction=1.5": "nsa_fraction=1.5: expected a value from 0 to 1",
    "data.defect_fraction=-1": "expected a value from 0 to 1",
    "model.mask_loss_weight=-0.5": "model.mask_loss_weight=-0.5: expected a value from 0",
    "seed=-1": "expected a value from 0",
    "data.tiling.size=[8,8]": "each at least 32 pixels",
    "data.tiling.size=[64,96]": "task=classification uses whole images",
    "task.name=anomaly_detection": "model=custom_resnet is for task=classification",
    "split.name=one_class": "a classifier needs defects",
    # Settings that contradict each other.
    "data.synthetic_defects=0.5 data.copy_paste=0.4": "leave no unchanged good images",
    "data.synthetic_defects=0.5 task.mixup=0.2": "cannot be combined with data.synthetic_defects",
    "model.mask_loss_weight=0.5 task.mixup=0.2": "not their masks",
    "data.synthesis.nsa_fraction=0.5": "patches of other good images",
    "threshold.name=sigma": "A classifier has threshold=operating_point or threshold=argmax",
    "compare.primary=acuracy": "not a choice. Did you mean accuracy",
    "compare.primary=dice": "Valid are: accuracy, auroc, ",
    "compare.primary=expected_cost": "Add cost.false_negative=<value> and cost.false_positive=",
    "compare.margin=0": "compare.margin=0: expected the smallest difference that matters",
    "compare.margin=1": "compare.margin=1: expected the smallest difference that matters",
    "compare.margin=nan": "compare.margin=nan: expected the smallest difference that matters",
    "cost.false_negative=-1 cost.false_positive=1": "cost.false_negative=-1: expected a cost of",
    "cost.false_negative=1 cost.false_positive=inf": "cost.false_positive=inf: expected a cost of",
    "cost.false_negative=nan cost.false_positive=1": "cost.false_negative=nan: expected a cost of",
    "cost.false_negative=0 cost.false_positive=0": "with both zero nothing is better",
    "cost.false_negative=1": "cost.false_positive is needed too",
    "cost.false_positive=1": "cost.false_negative is needed too",
    "cost.false_negative=1 cost.false_positive=1 cost.defect_rate=1": "defect_rate=1: expected",
    "cost.false_negative=1 cost.false_positive=1 cost.defect_rate=0": "defect_rate=0: expected",
    "cost.defect_rate=0.1": "it weighs costs, and none are given",
}
"""Mistakes that the checks find in the configuration of a classifier."""
CHECKED_OF_AUTOENCODERS = {
    "task.corruption_probability=1.5": "probability=1.5: expected a value from 0 to 1",
    "data.synthetic_defects=0.5": "see task.corruption_probability",
    "data.defect_fraction=0.5": "trains on good images only",
    "split.fold=5": "expected 0 to 4",
    "threshold.target_fpr=1": "expected a fraction of the good images between 0 and 1",
    "threshold.name=argmax": "has threshold=conformal, sigma or f1",
    "task.crop_size=[8,8]": "each at least 16 pixels",
    "task.full_image_from=2": "task.full_image_from=2: expected a value from 0 to 1.",
    "model.corruption=noise task.loss_weights.l1=0 task.loss_weights.l2=0 task.loss_weights.ssim=0"
    " task.loss_weights.ms_ssim=0 task.loss_weights.gradient=0": "`corrupted` is always 0",
}


def composition_error(compose: Compose, settings: str, composed: DictConfig | None = None) -> str:
    """The message for settings that Hydra cannot compose."""
    with pytest.raises(CONFIGURATION_EXCEPTIONS) as caught:
        compose("train", *settings.split())
    return explain(caught.value, composed=composed)


def test_unknown_settings_are_named_with_similar_ones(compose: Compose) -> None:
    composed = compose("train", "model=custom_resnet")
    for settings, expected in COMPOSED.items():
        message = composition_error(compose, settings, composed)
        assert expected in message, f"{settings}: {message}"
        assert len(message.splitlines()) == 1, message


@pytest.mark.parametrize(
    ("model", "mistakes"),
    [("custom_resnet", CHECKED), ("autoencoder", CHECKED_OF_AUTOENCODERS)],
)
def test_invalid_values_are_named(compose: Compose, model: str, mistakes: dict[str, str]) -> None:
    composed = compose("train", f"model={model}")
    check(composed)
    for settings, expected in mistakes.items():
        config = composed.copy()
        for setting in OverridesParser.create().parse_overrides(settings.split()):
            OmegaConf.update(config, setting.key_or_group, setting.value())
        with pytest.raises(ConfigurationError) as caught:
            check(config)
        assert expected in str(caught.value), f"{settings}: {caught.value}"
        assert len(str(caught.value).splitlines()) == 1


COMPARED = ("compare.primary", "compare.margin", "cost.false_negative", "cost.defect_rate")


def test_a_comparison_of_runs_has_the_checks_of_a_sweep(compose: Compose) -> None:
    composed = compose("compare", "runs=[a]")
    check(composed)
    for settings, expected in CHECKED.items():
        if settings.startswith(COMPARED):
            config = composed.copy()
            for setting in OverridesParser.create().parse_overrides(settings.split()):
                OmegaConf.update(config, setting.key_or_group, setting.value())
            with pytest.raises(ConfigurationError) as caught:
                check(config)
            assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("task", "values", "expected"),
    [
        ("classification", ("nan", "-0.1", "1.01", "text", "true", "''"), "from 0 to 1, or argmax"),
        ("anomaly_detection", ("nan", "-0.1", "inf", "text"), "expected a score of at least 0."),
        ("anomaly_detection", ("argmax",), "names no classes. Give a number"),
        ("segmentation", ("0.3", "argmax"), "the predicted mask decides"),
        (None, ("nan", "-0.1", "text"), "expected a number of at least 0, or argmax."),
    ],
)
def test_a_threshold_that_does_not_fit_the_run_is_named(
    compose: Compose, tmp_path: Path, task: str | None, values: tuple[str, ...], expected: str
) -> None:
    if task is not None:
        (tmp_path / "config.yaml").write_text(f"task: {{name: {task}}}\n", encoding="utf-8")
    for value in values:
        for command, further in (
            ("predict", "input=x"),
            ("evaluate", "subset=val"),
            ("app", "port=0"),
        ):
            config = compose(command, f"run={tmp_path}", further, f"threshold.value={value}")
            with pytest.raises(ConfigurationError) as caught:
                check(config)
            assert f"threshold={config.threshold.value}: " in str(caught.value)
            assert expected in str(caught.value)


def test_thresholds_that_fit_the_run_pass(compose: Compose, tmp_path: Path) -> None:
    for task, value in (
        ("classification", "0"),
        ("classification", "1"),
        ("classification", "argmax"),
        ("anomaly_detection", "12.5"),
        ("another", "12.5"),
    ):
        (tmp_path / "config.yaml").write_text(f"task: {{name: {task}}}\n", encoding="utf-8")
        check(compose("evaluate", f"run={tmp_path}", f"threshold.value={value}"))


def test_settings_are_added_only_below_options() -> None:
    for setting in ("+model.foo=1", "+sed=2", "++model.foo=1"):
        with pytest.raises(ConfigurationError, match=r"settings are not added with '\+'"):
            check_additions(["seed=1", setting])
    check_additions(["+model.options.x=1", "+experiment=quickstart", "+hydra.job.x=1"])


@pytest.mark.parametrize(
    ("argument", "status", "expected"),
    [
        ("model=resnet18 model.depth=50", 2, "model.depth: there is no such setting"),
        ("+model.foo=1", 2, "settings are not added with '+'"),
        ("split.val=0.9", 2, "leave no training images"),
        ("threshold=0.5", 2, "threshold=0.5: expected the name of a choice. Valid are: argmax"),
        ("threshold=null", 2, "threshold=null: expected the name of a choice."),
        ("resume=/there/is/none", 1, "expected a run folder"),
    ],
)
def test_mistakes_end_the_command_without_a_run_folder(
    cli: Cli, tmp_path: Path, argument: str, status: int, expected: str
) -> None:
    result = cli("train", *argument.split())
    check_error(result, expected, status=status)
    assert len(result.err.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("argument", "missing", "extra"),
    [
        ("hydra/launcher=slurm", "launcher/submitit_slurm", "slurm"),
        ("hydra/launcher=submitit_local", "launcher/submitit_local", "slurm"),
        ("hydra/launcher=ray_cluster", "launcher/ray", "ray"),
        ("hparams_search=optimizer", "sweeper/optuna", "hparams"),
    ],
)
def test_missing_plugins_are_named_with_their_extra(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, argument: str, missing: str, extra: str
) -> None:
    Plugins.instance()  # which registers what is installed
    group, name = missing.split("/")
    known = ConfigStore.instance().repo["hydra"][group]
    monkeypatch.delitem(known, f"{name}.yaml", raising=False)
    message = composition_error(compose, argument)
    assert message.endswith(f"not installed: pip install -e '.[{extra}]'")
    assert len(message.splitlines()) == 1


def test_help_configuration_and_mistakes_do_not_import_torch(tmp_path: Path) -> None:
    commands = [
        ["train.py", "--help"],
        ["train.py", "--cfg", "job"],
        ["train.py", "optimizer.lrr=1"],
        ["app.py", "threshold=nan"],
        ["compare.py", "runs=[a]", "compare.margin=2"],
    ]
    code = (
        "import runpy, sys\n"
        f"for command in {commands!r}:\n"
        "    sys.argv = command\n"
        "    try:\n"
        f"        runpy.run_path({str(REPOSITORY)!r} + '/' + command[0], run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        print('status', end.code)\n"
        "print('torch' in sys.modules, 'lightning' in sys.modules, 'pandas' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("status")] == [
        "status 0",
        "status 0",
        "status 2",
        "status 2",
        "status 2",
    ]
    assert lines[-1] == "False False False"
    assert "Configuration of `python train.py`" in result.stdout
    assert "name: custom_resnet" in result.stdout
    assert "Did you mean optimizer.lr" in result.stderr
    assert "threshold=nan: expected a number of at least 0, or argmax." in result.stderr
    assert "compare.margin=2: expected the smallest difference that matters" in result.stderr


def test_cfg_job_prints_the_composed_configuration(cli: Cli, compose: Compose) -> None:
    result = cli("train", "model=unet", "seed=3", "--cfg", "job")
    assert (result.status, result.err) == (0, "")
    shown = OmegaConf.create(result.out)
    assert shown.seed == 3
    assert shown.keys() == compose("train", "model=unet").keys()
    assert shown.model == compose("train", "model=unet").model
