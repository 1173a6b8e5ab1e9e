"""Invalid command lines: one helpful message, exit status 2, without importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from quick import check_error
from small import REPOSITORY, Cli

from capsule_inspection.config.checks import check, check_additions, check_single_process
from capsule_inspection.config.messages import CONFIGURATION_EXCEPTIONS, explain
from capsule_inspection.config.mistakes import check_arguments
from capsule_inspection.config.training_checks import check_unused
from capsule_inspection.types import ConfigurationError

Compose = Callable[..., DictConfig]
COMPOSED = {
    "model=resnt18": "Did you mean model=resnet18",
    "modl=resnet18": "Did you mean model",
    "optimizer.lrr=1": "Did you mean optimizer.lr",
    "data.workers=abc": "data.workers=abc: expected a whole number.",
    "optimizer.lr=1e-3s": "optimizer.lr=1e-3s: expected a number.",
    "model.depth=50": "model.depths",
    "trainer.max_epoch=3": "trainer.max_epochs",
    "sed=1": "Did you mean seed",
    "experiment=quickstrat": "experiment=quickstart",
    "callbacks.early_stopping.patience=soon": "patience=soon: expected a whole number.",
    "model=resnet18 model.width=8": "model.width: there is no such setting",
    "compare.margin=null": "compare.margin=null: expected a number.",
    "compare.primary=[auroc]": "compare.primary=[auroc]: expected text.",
    "cost.false_negative=[1]": "cost.false_negative=[1]: expected a number.",
    "cost=5": "expected settings below it (false_negative, false_positive, defect_rate).",
    "seed=null": "seed=null: expected a whole number.",
    "task.batch_size=8.5": "task.batch_size=8.5: expected a whole number.",
    "task.batch_size=nan": "task.batch_size=nan: expected a whole number.",
    "task.batch_size=": "task.batch_size=: expected a whole number.",
    "task.batch_size=true": "task.batch_size=true: expected a whole number.",
    "task.sampling=null": "task.sampling=null: expected natural or balanced.",
    "task.sampling={a:1}": "task.sampling={a:1}: expected natural or balanced.",
    "optimizer.lr=[1]": "optimizer.lr=[1]: expected a number.",
    "optimizer.betas=0.9": "optimizer.betas=0.9: expected a list, each a number.",
    "save_weights=maybe": "save_weights=maybe: expected true or false.",
    "data.root=null": "data.root=null: expected a path.",
    "seed": "seed: expected <key>=<value>",
    "data.image_size=224": "data.image_size=224: expected [height,width].",
    "data.image_size=[224.5,224]": "data.image_size=[224.5,224]: expected [height,width].",
    "data.image_size={a:1}": "data.image_size={a:1}: expected [height,width].",
    "data.tiling.size=5": "data.tiling.size=5: expected [height,width].",
    "model.depths=[2,2.5]": "model.depths=[2,2.5]: expected a list, each a whole number.",
    "model.name=null": "model.name=null: expected text.",
    "data.counts={good:1.5}": "such as {a: 1}, each value a whole number.",
    "data.counts.good=x": "data.counts.good=x: expected a whole number.",
    "data.augmentation=5": "data.augmentation=5: expected settings below it (rotation_deg, shift,",
    "trainer.overfit_batches=1": "trainer.overfit_batches: there is no such setting.",
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
    "split.fold=1": "for cross-validation set split=kfold too",
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
    "data.tiling.size=[8,8]": "each from 32 to 65536 pixels",
    "data.tiling.size=[64,96]": "task=classification uses whole images",
    "task.name=anomaly_detection": "model=custom_resnet is for task=classification",
    "split.name=one_class": "a classifier needs defects",
    "data.image_size=[[1],2]": "data.image_size=[[1], 2]: expected [height,width].",
    "data.roi=[0,0,.inf,.nan]": "expected auto, none or [x0,y0,x1,y1]",
    "data.counts={good:-1}": "expected values from 0 to 100000",
    "model.depths=[1,0]": "model.depths=[1, 0]: expected values from 1 to 100.",
    "optimizer.betas=[0.9]": "expected two numbers, such as [0.9,0.999]",
    "optimizer.betas=[0.9,1]": "expected values from 0 to 0.999999",
    "optimizer.lr=nan": "optimizer.lr=nan: expected a value from 1e-12 to 1000.",
    "trainer.accelerator=tpu": "trainer.accelerator=tpu: not a choice. Did you mean",
    "trainer.channels_last=null": "trainer.channels_last=null: expected auto, true or false.",
    "trainer.devices=0": "trainer.devices=0: expected a number of at least 1, -1 for all, a list",
    "trainer.devices=[0,0]": "trainer.devices=[0, 0]: expected a number of at least 1",
    "trainer.threads=0": "trainer.threads=0: expected a number from 1 to 1024, or auto.",
    "trainer.limit_val_batches=0": "limit_val_batches=0: expected a number of batches of at least",
    "trainer.limit_train_batches=1.5": "or a fraction of them above 0, at most 1.0",
    "trainer.fast_dev_run=maybe": "expected true, false or a number of batches",
    "trainer.max_steps=0": "trainer.max_steps=0: expected a number of at least 1, or -1",
    "trainer.max_epochs=-2": "trainer.max_epochs=-2: expected a number of at least 1, or -1",
    "trainer.max_epochs=-1": "the learning rate schedule needs the length of the training",
    "trainer.min_epochs=100": "expected at most the 80 epochs of trainer.max_epochs",
    "trainer.check_val_every_n_epoch=100": "expected at most the 80 epochs",
    "trainer.max_time=12": "expected DD:HH:MM:SS",
    "trainer.max_time=00:00:00:00": "expected DD:HH:MM:SS",
    "trainer.num_nodes=2": "nothing starts the processes on the other nodes",
    "trainer.strategy=ddp_spawn": "processes are started as commands. Use ddp.",
    "trainer.accumulate_grad_batches=0": "expected a value from 1 to 1000000000",
    "trainer.gradient_clip_val=-1": "expected a value from 0",
    "trainer.gradient_clip_algorithm=foo": "Valid are: norm, value.",
    "trainer.profiler=foo": "Valid are: advanced, pytorch, simple.",
    # Settings that contradict each other.
    "task.mask_loss.cross_entropy=0 task.mask_loss.dice=0": "task.mask_loss: all weights are 0",
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
    "split.test=0.2": "no such setting for task=anomaly_detection",
    "threshold.target_fpr=1": "expected a fraction of the good images between 0 and 1",
    "threshold.name=argmax": "has threshold=conformal, sigma or f1",
    "task.crop_size=[8,8]": "each from 16 to 65536 pixels",
    "task.full_image_from=2": "task.full_image_from=2: expected a value from 0 to 1.",
    "model.corruption=noise task.loss_weights.l1=0 task.loss_weights.l2=0 task.loss_weights.ssim=0"
    " task.loss_weights.ms_ssim=0 task.loss_weights.gradient=0": "`corrupted` is always 0",
}

_ONE_PASS = "is not trained. It reads each good image once, on one device. Remove it, or set "
CHECKED_OF_PATCHCORE = {
    "task.epochs=3": f"task.epochs=3: model=patchcore {_ONE_PASS}task.epochs=1.",
    "task.repeats=2": "task.repeats=2",
    "trainer.max_epochs=2": "trainer.max_epochs=2",
    "trainer.max_steps=1": f"{_ONE_PASS}trainer.max_steps=-1.",
    "trainer.max_time=00:00:01:00": f"{_ONE_PASS}trainer.max_time=null.",
    "trainer.accumulate_grad_batches=2": "trainer.accumulate_grad_batches=2",
    "trainer.devices=2": "trainer.devices=2",
    "trainer.devices=auto": "trainer.devices=auto",
    "trainer.devices=[0,1]": "trainer.devices=[0, 1]",
    "trainer.limit_train_batches=2": f"{_ONE_PASS}trainer.limit_train_batches=null.",
    "trainer.num_nodes=2": "trainer.num_nodes=2",
    "save_weights=true": "it has no weights of its own",
    "model.strides=[]": "model.strides=[]: expected different numbers of 2, 4, 8, 16 and 32",
    "model.strides=[8,8]": "model.strides=[8, 8]: expected different",
    "model.strides=[3]": "model.strides=[3]: expected different",
    "model.strides=[64]": "model.strides=[64]: expected values from 2 to 32",
    "model.neighbourhood=2": "model.neighbourhood=2: expected an odd number",
    "model.coreset=kmeans": "model.coreset=kmeans",
    "model.coreset_size=200 model.candidates=100": "at most model.candidates=100.",
    "model.coreset_size=5 model.num_neighbors=5": "expected more than model.num_neighbors=5",
    "model.name=unet": "model=patchcore has one network only",
    "data.good_fraction=0": "data.good_fraction",
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
    [
        ("custom_resnet", CHECKED),
        ("autoencoder", CHECKED_OF_AUTOENCODERS),
        ("patchcore", CHECKED_OF_PATCHCORE),
    ],
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


def test_one_device_may_be_a_list(compose: Compose) -> None:
    for devices in ("1", "[0]"):
        check(compose("train", "model=patchcore", f"trainer.devices={devices}"))


@pytest.mark.parametrize(
    ("model", "other", "right"),
    [
        ("patchcore", "autoencoder", "anomaly_detection_patches"),
        ("autoencoder", "patchcore", "anomaly_detection"),
    ],
)
def test_a_task_of_the_other_one_class_model_is_named(
    compose: Compose, model: str, other: str, right: str
) -> None:
    config = compose("train", f"model={model}")
    config.task = compose("train", f"model={other}").task
    with pytest.raises(ConfigurationError, match=f"model={model} is for task={right}. Remove"):
        check(config)


@pytest.mark.parametrize(
    "override",
    [
        *("optimizer=sgd", "optimizer.weight_decay=0.1", "scheduler=cosine", "callbacks=none"),
        *("finetune.head_epochs=1", "task.learning_rate=0.1", "task.monitor=val/loss"),
        *("+data.augmentation.noise=0.1", "~callbacks.ema", "data.synthesis.variants=2"),
    ],
)
def test_settings_of_a_training_are_refused_for_a_model_without_one(
    compose: Compose, override: str
) -> None:
    with pytest.raises(ConfigurationError, match="model=patchcore is not trained") as caught:
        check_unused(compose("train", "model=patchcore"), ["seed=1", override])
    assert str(caught.value).startswith(f"{override}: ")
    check_unused(compose("train", "model=patchcore"), ["seed=1", "task.batch_size=4"])
    check_unused(compose("train", "model=autoencoder"), [override])


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


def test_an_evaluation_names_its_split(compose: Compose, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"only for train\.py\. Use split=dataset"):
        check(compose("evaluate", f"run={tmp_path}", "split=auto"))


def test_nodes_wait_for_each_other_where_a_launcher_starts_them(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    check(compose("train", "trainer.num_nodes=2"))


@pytest.mark.parametrize(
    ("devices", "strategy", "is_refused"),
    [
        ("1", "ddp", False), ("auto", "auto", False), ("[0]", "auto", False),
        ("2", "auto", True), ("2", "ddp", True), ("auto", "ddp", True), ("[0,1]", "auto", True),
    ],
)  # fmt: skip
def test_a_sweep_has_one_process_a_job(
    compose: Compose, devices: str, strategy: str, is_refused: bool
) -> None:
    config = compose("train", f"trainer.devices={devices}", f"trainer.strategy={strategy}")
    with pytest.raises(ConfigurationError) if is_refused else nullcontext():
        check_single_process(config)


def test_settings_are_added_only_below_options() -> None:
    for setting in ("+model.foo=1", "+sed=2", "++model.foo=1"):
        with pytest.raises(ConfigurationError, match=r"settings are not added with '\+'"):
            check_additions(["seed=1", setting])
    with pytest.raises(ConfigurationError, match=r"split.name=kfold: .*Write split=kfold\."):
        check_additions(["seed=1", "split.name=kfold"])
    check_additions(["+model.options.x=1", "+experiment=quickstart", "+hydra.job.x=1"])


ARGUMENTS = {
    # Of train.py; a part of each message.
    "train": {
        "model=custom_resnet,|resnet18": "Write -m model=custom_resnet,resnet18, since several",
        "-m|model=a,|b,|c": "Write model=a,b,c",
        "data.image_size=64,|96": "Write data.image_size=[64,96]",
        "task.epochs|=|5": "task.epochs =: spaces end an argument. Write task.epochs=5",
        "data.root=/my|images|seed=1": "Write 'data.root=/my images' if the path has one",
        "task.epochs=|5": "Write task.epochs=5",
        "data.counts={good:|5,|crack:|3}": "Write 'data.counts={good: 5, crack: 3}'",
        "data.counts={good:1": "data.counts={good:1: the bracket is not closed.",
        "optimizer.lr=1e-3,|seed=1": "optimizer.lr=1e-3,: a value is missing after the comma.",
        "model = resnet18": "Write model=resnet18",
        "model==resnet18": "Write model=resnet18",
        "resnet18": "resnet18: expected <key>=<value>. Write model=resnet18",
        "=5": "=5: expected <key>=<value>. Write <key>=5",
        "epochs|5": "Write task.epochs=5",
        "help": "help: expected <key>=<value>. python train.py --help lists",
        "some/images": "Write data.root=some/images",
        "data.root": "Write data.root=<value>",
        "--model|resnet18": "--model: settings have no dashes. Write model=resnet18",
        "--epochs=5": "--epochs: settings have no dashes. Write task.epochs=5",
        "--resume": "Write resume=<value>",
        "--hep": "--hep: there is no such option. Did you mean --help?",
        "-e|5": "-e: there is no such option. Settings are written key=value: python train.py",
        "--cfg|jb": "--cfg jb: expected one of job, hydra, all.",
        "--config-dir|none": "--config-dir none: there is no such folder.",
        "experiment=null": "experiment=null: expected the name of a choice. Valid are: ",
        "experiment=[5,quickstart]": "expected the name of a choice. Valid are: ",
        "experiment=5": "experiment=5: expected the name of a choice. Valid are: ",
        "-m|threshold=0.5,0.6": "threshold=0.5,0.6: expected the name of a choice. Valid are: ",
        "-m|--cfg|job": "-m: --cfg and --info show one configuration.",
        "~data.root": "~data.root: a setting cannot be removed.",
        "hydra.run.dir=": "hydra.run.dir=: expected a path.",
        "data.root=": "data.root=: expected a path.",
        "model=": "model=: expected the name of a choice. Valid are: autoencoder, ",
        "model=[resnet18,unet]": "expected the name of a choice. Valid are: autoencoder, ",
        "data=/my/images": "For a path write data=auto data.root=/my/images",
        "data=images.csv": "For a path write data=manifest data.path=images.csv",
        "data=my/data.yaml": "For a path write data=auto data.root=my",
        "model=runs/best.ckpt": "For a path write model=<name> model.weights=runs/best.ckpt",
        "split=split.csv": "For a path write split=manifest split.path=split.csv",
        "train.epochs=3": "train.epochs: there is no such setting. Did you mean task.epochs?",
        "image_size=640": "image_size: there is no such setting. Did you mean task.image_size=[he",
        "batch_size=8": "batch_size: this is a setting of predict.py. Did you mean task.batch_size",
        "run=latest": "run: this is a setting of evaluate.py, predict.py, app.py, export.py.",
        "output=x": "Did you mean hydra.run.dir?",
    },
    "predict": {
        "model=x.ckpt|source=y": "model: this is a setting of train.py. Did you mean run?",
        "source=x": "source: there is no such setting. Did you mean input?",
        "conf=0.25": "conf: there is no such setting. Did you mean threshold?",
        "task.epochs=3": "task.epochs: this is a setting of train.py.",
        "data.root=x": "data.root: this is a setting of train.py, evaluate.py, export.py. Did you",
        "save=true": "save: there is no such setting. python predict.py --help lists all.",
        "--run|x": "--run: settings have no dashes. Write run=x",
        "-m|batch_size=1,2": "-m: only train.py has sweeps.",
    },
    "evaluate": {
        "split=val": "split=val: one split is chosen with subset=val.",
        "data=/x": "For a path write data=auto data.root=/x",
    },
    "compare": {
        "outputs/a|outputs/b": "Write runs=[outputs/a,outputs/b]",
        "runs=outputs/a|outputs/b": "Write runs=[outputs/a,outputs/b]",
        "runs=[outputs/a,|outputs/b]": "Write 'runs=[outputs/a, outputs/b]'",
        "run=outputs/a": "run: this is a setting of evaluate.py, predict.py, app.py, export.py.",
    },
}
"""Arguments, separated by |, that Hydra would answer in its own words."""


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(command, arguments) for command, known in ARGUMENTS.items() for arguments in known],
)
def test_what_is_no_setting_is_answered_before_hydra(command: str, arguments: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_arguments(arguments.split("|"), command, REPOSITORY / "conf")
    assert ARGUMENTS[command][arguments] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_hydra_reads_passes(tmp_path: Path) -> None:
    (tmp_path / "[odd,").mkdir()
    for arguments in (
        ["-m", "model=resnet18,unet", "split.fold=range(5)", "hydra/launcher=joblib"],
        ["--cfg", "job", "--resolve", f"--config-dir={tmp_path}"],
        ["data.class_map.scr=scratch", "+model.options.x=1", "data.columns={path: a}", "seed="],
        ["model=timm.yaml", "threshold=argmax", "model='resnet18'", f"data.root={tmp_path}/[odd,"],
        [f"--config-dir={tmp_path}", "experiment=mine/first"],
        ["-m", "-cd", f"{tmp_path}", "seed=1,2"],
        [f"data.exclude=[{','.join(map(str, range(99)))}]", "-m", f"model={'unet,' * 60}unet"],
        ["experiment=[quickstart,few_defects]", "hydra.job.name=x", "task.monitor=val/loss"],
    ):
        check_arguments(arguments, "train", REPOSITORY / "conf")
    check_arguments(["runs=a,b", "runs=[a, b]", "compare.margin=1"], "compare", REPOSITORY / "conf")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (
            "model=resnet18,unet",
            "a sweep, which needs -m: python train.py -m model=resnet18,unet ...",
        ),
        ("model=resnet18, unet", "train.py -m model=resnet18,unet ..."),
        ("split.fold=range(5)", "train.py -m 'split.fold=range(5)' ..."),
        ("data.image_size=64,96", "expected [height,width]. Write data.image_size=[64,96]"),
        ("optimizer.betas=0.9,0.99", "each a number. Write optimizer.betas=[0.9,0.99]"),
        ("+experiment=quickstart", "experiment: expected one choice, without + and []."),
        (
            "model=resnet18 model.block=basic",
            "model.block: there is no such setting with the",
        ),
        ("model=unet threshold=argmax", "threshold: the chosen model has no such choices."),
        (
            "model=convnext_atto",
            "For a classifier of timm of that name: model=timm model.name=",
        ),
        ("seed=${nothing}", "${nothing}: there is no such setting whose value could be used."),
        ("seed=${oc.env:NOT_SET}", "${oc.env:NOT_SET}: this variable is not set."),
    ],
)
def test_what_hydra_refuses_is_answered_in_one_sentence(
    cli: Cli, argument: str, expected: str
) -> None:
    split = argument.split() if argument.count("=") > 1 else [argument]
    result = cli("train", "data=synthetic", *split)
    check_error(result, expected, status=2)
    assert len(result.err.strip().splitlines()) == 1


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
        ["app.py", "run=model.onnx", "threshold=nan"],
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
    (tmp_path / "model.onnx").touch()
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
