"""A stored configuration is data: whatever it holds, opening it runs and reaches nothing."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config import stored
from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.config.sweeps import arguments_to_resume
from capsule_inspection.integrity import write_sealed
from capsule_inspection.models.timm_model import RESERVED as RESERVED_OF_TIMM
from capsule_inspection.models.torchvision_model import RESERVED as RESERVED_OF_TORCHVISION
from capsule_inspection.types import ConfigurationError, RunError
from capsule_inspection.workflows.factory import build_model

Compose = Callable[..., DictConfig]
LOADERS = (
    *("joblib.load", "torch.load", "torch.jit.load", "torch.hub.load", "numpy.load"),
    *("pandas.read_pickle", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open"),
    *("os.system", "os.popen", "os.mkdir", "os.remove", "subprocess.run", "subprocess.Popen"),
    *("setuptools._distutils.spawn.spawn", "pathlib.Path.write_text", "pathlib.Path.touch"),
    *("importlib.import_module", "runpy.run_path", "builtins.eval", "builtins.exec"),
    *("yaml.unsafe_load", "hydra.utils.instantiate", "hydra.utils.call", "hydra.utils.get_method"),
    *("timm.create_model", "timm.models.load_checkpoint", "torchvision.models.get_model"),
    *("torch.hub.load_state_dict_from_url", "huggingface_hub.hf_hub_download"),
    *("lightning.pytorch.LightningModule.load_from_checkpoint", "urllib.request.urlopen"),
)
LOADER = re.compile(
    r"^ *(?:def|class) ((?:[a-z_]*load[a-z_]*|read_pickle|spawn|exec\w*|eval\w*|import_module"
    r"|instantiate|call|get_method|Popen|system|popen|check_output|run_path|run_module|write_text"
    r"|\w*download\w*|urlopen|urlretrieve))\b",
    re.MULTILINE,
)


COMPOSED: dict[tuple[str, ...], str] = {}
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def settings_of(compose: Compose, *choices: str) -> dict[str, Any]:
    if choices not in COMPOSED:
        COMPOSED[choices] = stored.to_yaml(compose("train", *choices))
    return yaml.safe_load(COMPOSED[choices])


def write(folder: Path, values: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.dump(values, Dumper=DUMPER, sort_keys=False), encoding="utf-8")
    return path


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value of a configuration by its path: mappings, lists, their items and leaves."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def changed(values: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = deepcopy(values)
    node: Any = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copy


def refused(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        load_stored(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected the ")
    assert message.endswith("Restore it from a copy.")
    assert len(message.splitlines()) == 1
    return message


def dotted(path: tuple[Any, ...]) -> str:
    return ".".join(key for key in path if isinstance(key, str))


@pytest.mark.parametrize(
    "model",
    ["unet", *(pytest.param(m, marks=pytest.mark.slow) for m in ("resnet18", "autoencoder"))],
)
def test_code_is_refused_at_each_place_by_its_key(
    compose: Compose, tmp_path: Path, model: str
) -> None:
    values, canary = settings_of(compose, f"model={model}"), tmp_path / "canary"
    found = list(places(values))
    assert len(found) > 100
    for number, path in enumerate(found):
        target = LOADERS[number % len(LOADERS)]
        code = {"_target_": target, "_args_": [f"touch {canary}"]}
        inside = changed(values, path, code)
        assert f"{dotted(path)}._target_: " in refused(write(tmp_path, inside))
        interpolated = changed(values, path, "a ${oc.env:HOME}")
        assert [key for key, _ in stored.find_code(interpolated)] == [dotted(path)]
    assert f"{dotted(path)}: a ${{oc.env:HOME}} is an" in refused(write(tmp_path, interpolated))
    for key in ("_target_", "_partial_", "_args_", "_recursive_", "_convert_", "${seed}"):
        assert f"model.{key}" in refused(write(tmp_path, changed(values, ("model", key), "x")))
    assert not canary.exists()


def test_known_loaders_are_refused_as_values_or_are_inert(compose: Compose, tmp_path: Path) -> None:
    values = settings_of(compose, "model=resnet18")
    values["model"]["options"] = {"act_layer": "relu"}
    values["optimizer"]["builder"] = "adamw"
    for loader in LOADERS[::5]:
        for path in (
            *(("model", "builder"), ("model", "name"), ("model", "options", "act_layer")),
            *(("optimizer", "builder"), ("scheduler", "builder"), ("logger", "builder")),
            *(("task", "loss"), ("data", "name"), ("split", "name")),
        ):
            write(tmp_path, changed(values, path, loader))
            if path != ("model", "name"):
                refused(tmp_path / "config.yaml")
                continue
            with pytest.raises(ConfigurationError, match="has no such model"):
                build_model(load_stored(tmp_path / "config.yaml"), num_classes=3, weights="none")


@pytest.mark.slow
def test_every_loader_of_every_dependency_is_refused_at_every_place(
    compose: Compose, tmp_path: Path
) -> None:
    values = settings_of(compose, "model=unet")
    found = sorted({*LOADERS, *loaders_of_dependencies()})
    assert len(found) > 1000
    canary = tmp_path / "canary"
    code = [{"_target_": target, "_args_": [str(canary)]} for target in found]
    for number, path in enumerate(places(values)):
        refusals = [key for key, _ in stored.find_code(changed(values, path, code))]
        assert refusals.count(f"{dotted(path)}._target_") == len(found)
        refused(write(tmp_path, changed(values, path, code[number])))
    assert not canary.exists()


def loaders_of_dependencies() -> Iterator[str]:
    """Functions, classes and methods of all installed packages that load or run something."""
    for package in importlib.metadata.distributions():
        for file in package.files or ():
            if file.suffix != ".py" or ".." in file.parts:
                continue
            path = Path(str(package.locate_file(file)))
            text = path.read_text(encoding="utf-8", errors="ignore") if path.is_file() else ""
            module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
            yield from (f"{module}.{name}" for name in LOADER.findall(text))


BOMB = "a: &a [1, 2]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DOCUMENTS = {
    "an empty file": b"",
    "a list": b"- 1\n- 2\n",
    "a text": b"seed",
    "no YAML": b"a: [",
    "no UTF-8": b"seed: \xff\xfe",
    "a zero byte": b"seed: \x00",
    "references": BOMB.encode(),
    "one that holds itself": b"a: &a {b: *a}",
    "deep nesting": b"a: " + b"[" * 5000,
    "deep mappings": b"a: " + b"{a: " * 5000,
    "deep blocks": b"".join(b" " * n + b"a:\n" for n in range(100)),
    "too large": b"#" * 2**21,
    "a long number": b"seed: " + b"9" * 9000,
    "a long sum": b"seed: 1" + b":59" * 5000,
    "many items": b"seed: [" + b"1," * 60_000 + b"1]",
    "an object": b"seed: !!python/object/apply:os.system ['touch canary']",
    "a module": b"seed: !!python/module:os",
    "a path": b"seed: !!python/object/apply:pathlib.Path ['/']",
    "bytes": b"seed: !!binary aGVsbG8=",
    "a date": b"seed: 2020-01-01",
    "a set": b"seed: !!set {a}",
    "a mapping as key": b"{a: b}: c",
}


@pytest.mark.parametrize("content", DOCUMENTS.values(), ids=DOCUMENTS)
def test_damaged_and_hostile_documents_end_in_one_message(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    refused(path)


def test_a_pipe_or_a_missing_file_is_no_configuration(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "config.yaml")
    assert "it is no regular file" in refused(tmp_path / "config.yaml")
    assert "No such file" in refused(tmp_path / "none" / "config.yaml")


def test_a_file_that_is_cut_is_refused_at_any_line(compose: Compose, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    lines = stored.to_yaml(compose("train", "model=resnet18")).splitlines(keepends=True)
    for end in range(1, len(lines), 11):
        path.write_text("".join(lines[:end]), encoding="utf-8")
        refused(path)
    path.write_text("".join(lines), encoding="utf-8")
    load_stored(path)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model.nosuch", 1, "model.nosuch: "),
        ("optimizer.lr", "x", "optimizer.lr=x: expected a number"),
        ("optimizer.lr", -1.0, "optimizer.lr=-1.0: expected a value from"),
        ("optimizer.lr", float("nan"), "optimizer.lr=nan: expected a value from"),
        ("seed", "???", "it has no value of seed"),
        ("seed", None, "seed=None: expected a whole number"),
        ("model", None, "model: expected settings below it, found None"),
        ("data.name", "nosuch", "data: expected one of synthetic"),
        ("data.name", "folder", "data."),
        ("model.builder", "segmenter", "model."),
        ("model.builder", ["timm"], "model: expected one of custom_resnet"),
        ("task.name", "segmentation", "task."),
        ("data.image_size", [0, 0], "data.image_size=[0, 0]"),
        ("trainer.precision", None, "trainer.precision"),
        ("threshold", None, "threshold=null"),
        ("data.cache_folder", "a" * 5000, "File name too long"),
        ("data.workers", 10**400, "data.workers"),
        ("hydra", {"run": {"dir": "/x"}}, "hydra"),
        ("model.name", "hf-hub:timm/resnet18", "model.name=hf-hub:timm/resnet18: expected a name"),
        ("model.name", "local-dir:/tmp/x", "model.name="),
        ("model.name", "timm/resnet18", "model.name="),
        ("model.name", "../resnet18", "model.name="),
        ("model.options", {"x": "/etc/passwd"}, "model.options.x=/etc/passwd: expected a number"),
        ("model.options", {"x": "os.system"}, "model.options.x=os.system: expected a number"),
        ("model.options", {"x": {"url": "y"}}, "model.options.x="),
        ("model.options", {"x": [["a"]]}, "model.options.x="),
        ("model.options", {"x": float("inf")}, "model.options.x=inf"),
        ("optimizer.builder", "timm", "optimizer."),
    ],
)
def test_settings_that_do_not_fit_are_named(
    compose: Compose, tmp_path: Path, key: str, value: Any, expected: str
) -> None:
    values = settings_of(compose, "model=resnet18")
    if expected == "trainer.precision":
        del values["trainer"]["precision"]
    else:
        values = changed(values, tuple(key.split(".")), value)
    assert expected in refused(write(tmp_path, values))


def test_options_that_load_something_are_refused_when_a_run_is_opened(
    compose: Compose, tmp_path: Path
) -> None:
    loading = {
        *("pretrained", "checkpoint_path", "cache_dir", "pretrained_cfg", "pretrained_cfg_overlay"),
        *("features_only",),
    }
    assert loading <= RESERVED_OF_TIMM.keys()
    assert {"weights", "weights_backbone"} <= RESERVED_OF_TORCHVISION.keys()
    for choices, place, options in (
        (("model=resnet18",), "options", loading),
        (("model=torchvision", "model.name=resnet18"), "options", {"weights", "weights_backbone"}),
        (("model=unet", "model.encoder=resnet18"), "encoder_options", loading),
        (("model=unet",), "options", {"encoder_weights", "aux_params", "encoder_name"}),
    ):
        values = settings_of(compose, *choices)
        for name in sorted(options):
            config = load_stored(write(tmp_path, changed(values, ("model", place), {name: True})))
            with pytest.raises(ConfigurationError, match=f"model.{place}.{name}: this is set by"):
                build_model(config, num_classes=3, weights="none")


def test_names_that_look_like_interpolations_are_stored_as_they_are(
    compose: Compose, tmp_path: Path
) -> None:
    config, path = compose("train", "data=folder", "data.root=/x"), tmp_path / "config.yaml"
    for name in ("${seed}", "a ${oc.env:HOME}", r"a\${x}", r"\\${x}\\", "${", "é$"):
        OmegaConf.update(config, "data.root", stored._escape(f"/data/{name}"))
        config.data.class_map = {name: "b"}
        assert config.data.root == f"/data/{name}"
        path.write_text(stored.to_yaml(config), encoding="utf-8")
        assert load_stored(path).data.root == f"/data/{name}"
        assert list(load_stored(path).data.class_map) == [name]
        assert stored.read_plain(path)["data"]["root"] == f"/data/{name}"


def test_a_stored_folder_is_written_to_only_where_it_is_in_use_as_such(
    compose: Compose, tmp_path: Path
) -> None:
    other, run = tmp_path / "other", tmp_path / "run"
    other.mkdir()
    run.mkdir()
    values = settings_of(compose, f"data.cache_folder={other}", f"data.root={other}")
    for folder in (str(other), "../x", "data/../../x", str(tmp_path / "none")):
        values["data"] |= {"cache_folder": folder, "root": folder}
        data = load_stored(write(run, values)).data
        assert (data.cache_folder, data.root) == ("data/cache", "data/synthetic")
    (other / "decoded").mkdir()
    (other / "capsule-9x64px-seed0-0123").mkdir()
    values["data"] |= {"cache_folder": str(other), "root": str(other)}
    data = load_stored(write(run, values)).data
    assert (data.cache_folder, data.root) == (str(other), str(other))
    values = settings_of(compose, "data=folder", "data.root=/images")
    assert load_stored(write(run, values)).data.root == "/images"  # is only read


HARMLESS = [
    *("model=resnet18,unet", "seed=range(3)", "data.root='/my parts'", "split.fold=0,1"),
    *("hydra/launcher=local_parallel", "hydra.launcher.n_jobs=-1", "+experiment=quickstart"),
    *("model=choice(resnet18,unet)", "+model.options.drop_rate=0.1", "optimizer.lr=1e-3,1e-4"),
    *(r"data.root='/\${x}'", "++data.class_map={a: b}", r"data.root='/\${x}','b'"),
    *("data.exclude=[a],['x, y']", "model.depths=[1,1]", "hydra/launcher=joblib"),
]
HARMFUL = [
    *("hydra.launcher._target_=os.system", "hydra/callbacks=x", "+x._target_=os.system"),
    *("hydra.searchpath=[file:///tmp/x]", "hydra.run.dir=/tmp/x", "hydra.sweep.subdir=../x"),
    *("hydra.job.chdir=true", "hydra/launcher=../../x", "hydra/sweeper=optuna", "~data"),
    *("hydra.launcher.setup=[touch x]", "hydra.launcher.python=/tmp/x", "hydra.mode=RUN"),
    *("hydra.launcher.ray.init.address=ray://x:1", "hydra.launcher.partition='a\nb'"),
    *("model=../../tmp/x", "experiment=/tmp/x", "+experiment=../x", "model@x=resnet18"),
    *("data.root=${oc.env:HOME}", r"data.root='\\${oc.env:HOME}'", "seed=${run_folder:/tmp/x}"),
    *("model.options={_target_: os.system}", "+model.options.x={_target_: y}", "nosuch=1"),
    *("resume=/runs/of/mine", "+resume=/runs/of/mine", "run=/runs/of/mine", "output=/tmp/x"),
    *("format=onnx", "input=/tmp/x", "host=0.0.0.0", "inspect=true", "hydra/launcher=slurm"),
    *("hydra/launcher=basic,ray_cluster", "hydra.launcher.n_jobs=100000"),
    *("seed=range(0,1000000000)", "seed=range(0.0,1,1e-20)", "data.exclude=" + "[" * 5000),
    *(r"data.good_class='a',\\\${oc.env:HOME},'b'", r"data.good_class=choice('a',\\\${seed})"),
    *(r"data.exclude=['a'],[\\\${seed}]", r"data.exclude=[['a'],[\\\${seed}]]"),
    *(r"+model.options={a: 'x', b: \\\${seed}}", r"++data.class_map={$\{seed}: a}"),
    *("data.good_class=str(${seed})", "data.good_class=[range(1,3)]", "seed=shuffle(1,2)"),
    *("seed=glob(*)", "seed=interval(0,1)", "data.good_class=extend_list(a)", "model=[../x]"),
    *("logger=wandb", "logger.tracking_uri=http://x", "--config-path=/tmp", "-cd=/tmp"),
]


def test_arguments_of_a_sweep_folder_run_nothing(tmp_path: Path) -> None:
    for argument in HARMLESS:
        write_sealed(tmp_path / "sweep.json", {"arguments": ["seed=1", argument]})
        assert argument in arguments_to_resume([f"resume={tmp_path}"])
    for argument in HARMFUL:
        write_sealed(tmp_path / "sweep.json", {"arguments": ["seed=1", argument]})
        with pytest.raises(RunError, match=r"is not taken from a sweep folder") as caught:
            arguments_to_resume([f"resume={tmp_path}"])
        assert str(caught.value).startswith(f"{tmp_path / 'sweep.json'}: {argument:.200} is not")
    many = ["seed=range(200)", "split.fold=range(100)"]  # too many together
    write_sealed(tmp_path / "sweep.json", {"arguments": many})
    with pytest.raises(RunError, match="at most 10,000 jobs"):
        arguments_to_resume([f"resume={tmp_path}"])
    given = ["seed=1", HARMFUL[-1]]
    write_sealed(tmp_path / "sweep.json", {"arguments": given})
    assert arguments_to_resume([*given, f"resume={tmp_path}"])[:2] == given  # typed by the user
