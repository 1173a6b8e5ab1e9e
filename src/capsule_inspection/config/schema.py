"""Types, choices and ranges of every setting; the values are in `conf/`.

Each `conf/<group>/<choice>.yaml` names its schema in its defaults list, so that Hydra rejects
unknown keys and values of the wrong type. `checks.py` reads choices and ranges from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from capsule_inspection.types import ANNOTATION_FORMATS, EXPORT_SUFFIXES, SPLITS

IMAGE_SELECTIONS = ("all", "defects", "none")
VERIFICATIONS = ("full", "skip")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")

_SEEDS = (0, 2**32 - 1)
_WEIGHTS = (0, 1e6)
_PIXELS = (64, 2**40)
_DEPTHS = (8, 10, 12, 14, 16)
_RATES = (1e-12, 1000)
_COUNTS = (1, 1_000_000_000)


def one_of(*choices: str | bool | int, default: Any = MISSING) -> Any:
    """A setting with one of these values; required without a default."""
    return field(default=default, metadata={"choices": choices})


def between(low: float, high: float, *, default: Any = MISSING) -> Any:
    """A setting with a value, or values, from `low` to `high`; required without a default."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass
class CompareConfig:
    """What decides a comparison, named before looking."""

    primary: str | None = None
    margin: float = MISSING


@dataclass
class CostConfig:
    """Costs of wrong decisions, in any unit, and the fraction of defects in production."""

    false_negative: float | None = None
    false_positive: float | None = None
    defect_rate: float | None = None


@dataclass
class GivenThreshold:
    """What decides instead of the threshold of a run: a number, or argmax."""

    value: Any = None


@dataclass
class Train:
    """Configuration of `train.py`; the groups have schemas of their own."""

    seed: int = between(*_SEEDS)
    inspect: bool = MISSING
    resume: str | None = None
    save_weights: bool = MISSING
    task: Any = MISSING
    data: Any = MISSING
    split: Any = MISSING
    threshold: Any = None
    compare: CompareConfig = field(default_factory=CompareConfig)
    cost: CostConfig = field(default_factory=CostConfig)
    model: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    finetune: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING


@dataclass
class Evaluate:
    """Configuration of `evaluate.py`."""

    run: str = MISSING
    verify: str = one_of(*VERIFICATIONS)
    output: str | None = None
    subset: str = one_of(*SPLITS)
    threshold: GivenThreshold = field(default_factory=GivenThreshold)
    data: Any = MISSING
    split: Any = MISSING
    trainer: Any = MISSING


@dataclass
class Predict:
    """Configuration of `predict.py`."""

    run: str = MISSING
    verify: str = one_of(*VERIFICATIONS)
    input: str = MISSING
    output: str | None = None
    threshold: GivenThreshold = field(default_factory=GivenThreshold)
    batch_size: int = between(1, 65536)
    workers: Any = MISSING
    overlays: str = one_of(*IMAGE_SELECTIONS)
    explain: str = one_of(*IMAGE_SELECTIONS)
    max_pixels: int | None = between(*_PIXELS, default=None)
    bit_depth: int | None = one_of(*_DEPTHS, default=None)
    trainer: Any = MISSING


@dataclass
class App:
    """Configuration of `app.py`."""

    run: str = MISSING
    verify: str = one_of(*VERIFICATIONS)
    threshold: GivenThreshold = field(default_factory=GivenThreshold)
    host: str = MISSING
    port: int = between(0, 65535)
    allowed_hosts: list[str] = MISSING
    max_upload_mb: int = between(1, 10_000)
    max_disk_mb: int = between(2, 10_000_000)
    max_requests: int = between(1, 1000)
    max_requests_per_minute: int = between(1, 1_000_000)
    max_pixels: int | None = between(*_PIXELS, default=None)
    bit_depth: int | None = one_of(*_DEPTHS, default=None)
    concurrency_limit: int = between(1, 1000)
    neighbours: int = between(0, 100)
    trainer: Any = MISSING


@dataclass
class Export:
    """Configuration of `export.py`."""

    run: str = MISSING
    verify: str = one_of(*VERIFICATIONS)
    format: str = one_of(*EXPORT_SUFFIXES)
    int8: bool = MISSING
    output: str | None = None
    images: int = between(1, 1_000_000)
    calibration_images: int = between(1, 100_000)
    threads: Any = MISSING
    data: Any = MISSING


@dataclass
class ConvertData:
    """Settings of data sets whose labels are in annotation files, as far as they shape masks."""

    exclude: list[str] = MISSING
    good_class: str | None = None
    class_map: dict[str, Any] = MISSING
    mask_values: Any = MISSING
    mask_ignore: int | None = between(1, 65535, default=None)
    mask_inverted: bool = MISSING
    annotations: str | None = None
    boxes_as_masks: bool = MISSING
    unannotated: str = one_of("auto", "error", "good", "skip")
    exif_orientation: bool = MISSING
    max_pixels: int = between(*_PIXELS)
    workers: int = between(1, 1024)


@dataclass
class Convert:
    """Configuration of `convert.py`."""

    input: str = MISSING
    format: str = one_of("auto", *ANNOTATION_FORMATS)
    output: str = MISSING
    data: ConvertData = field(default_factory=ConvertData)


@dataclass
class Compare:
    """Configuration of `compare.py`."""

    runs: list[str] = MISSING
    verify: str = one_of(*VERIFICATIONS)
    output: str | None = None
    reference: str | None = None
    compare: CompareConfig = field(default_factory=CompareConfig)
    cost: CostConfig = field(default_factory=CostConfig)


@dataclass
class TaskConfig:
    """Settings of all tasks."""

    name: str = MISSING
    image_size: list[int] = MISSING
    batch_size: int = between(1, 65536)
    epochs: int = between(1, 1_000_000)
    learning_rate: float = between(*_RATES)
    head_epochs: int = between(-1, 1_000_000)
    monitor: str = MISSING
    monitor_mode: str = one_of("max", "min")
    monitor_smoothing: float = between(0, 0.999)
    repeats: int = between(1, 10_000)


@dataclass
class CropConfig:
    """Settings of tasks that train on crops."""

    crop_size: list[int] | None = None
    full_image_from: Any = MISSING  # a fraction, or auto


@dataclass
class MixtureConfig:
    """Settings of tasks that learn from masks of real, synthetic and copied defects."""

    synthetic_defects: float = between(0, 1)
    copy_paste: float = between(0, 1)
    real_defects: float = between(0, 1)
    defect_weight: float = between(*_WEIGHTS)
    focal_gamma: float = between(0, 100)


@dataclass
class ReconstructionLossWeights:
    l1: float = between(*_WEIGHTS)
    l2: float = between(*_WEIGHTS)
    ssim: float = between(*_WEIGHTS)
    ms_ssim: float = between(*_WEIGHTS)
    gradient: float = between(*_WEIGHTS)
    corrupted: float = between(*_WEIGHTS)


@dataclass
class MapConfig:
    smoothing: float = between(0, 0.5)
    context_sigma: float = between(0, 1)
    foreground: bool = MISSING
    roi_dilation: float = between(0, 1)
    topk_fraction: float = between(0, 1)


@dataclass
class AnomalyMapConfig(MapConfig):
    source: str = one_of("auto", "residual", "head", "both")
    l1: float = between(*_WEIGHTS)
    ms_ssim: float = between(*_WEIGHTS)
    gradient: float = between(*_WEIGHTS)
    normalise: bool = MISSING


@dataclass
class PatchesConfig(TaskConfig):
    """Anomaly detection without training."""

    builder: str = one_of("patches")
    calibration_fraction: float = between(0.001, 0.9)
    map: MapConfig = MISSING


@dataclass
class AnomalyDetectionConfig(TaskConfig, CropConfig):
    calibration_fraction: float = between(0.001, 0.9)
    corruption_probability: float = between(0, 1)
    nsa_fraction: float = between(0, 1)
    loss_weights: ReconstructionLossWeights = MISSING
    head_weight: float = between(*_WEIGHTS)
    map: AnomalyMapConfig = MISSING


@dataclass
class SegmentationLossWeights:
    cross_entropy: float = between(*_WEIGHTS)
    dice: float = between(*_WEIGHTS)
    focal: float = between(*_WEIGHTS)
    focal_tversky: float = between(*_WEIGHTS)


@dataclass
class ClassificationConfig(TaskConfig, MixtureConfig):
    sampling: str = one_of("natural", "balanced")
    loss: str = one_of("cross_entropy", "focal")
    class_weights: str = one_of("none", "balanced", "effective")
    logit_adjustment: float = between(0, 100)
    temperature_scaling: bool = MISSING
    label_smoothing: float = between(0, 0.999)
    mixup: float = between(0, 100)
    mask_loss: SegmentationLossWeights = MISSING


@dataclass
class SegmentationConfig(TaskConfig, CropConfig, MixtureConfig):
    loss_weights: SegmentationLossWeights = MISSING


@dataclass
class Augmentation:
    rotation_deg: float = between(0, 180)
    shift: float = between(0, 1)
    scale: float = between(0, 0.9)
    vertical_flip: float = between(0, 1)
    horizontal_flip: float = between(0, 1)
    brightness: float = between(0, 1)
    contrast: float = between(0, 1)
    saturation: float = between(0, 1)
    hue_deg: float = between(0, 180)
    noise: float = between(0, 1)


@dataclass
class Tiling:
    size: list[int] | None = None
    overlap: float = between(0, 0.9)
    native_size: list[int] | None = None


@dataclass
class Synthesis:
    variants: int = between(1, 10_000)
    nsa_fraction: float = between(0, 1)


@dataclass
class Data:
    """Settings of all data sets."""

    name: str = MISSING
    root: str | None = None
    image_size: list[int] = MISSING
    roi: Any = MISSING
    roi_margin: float = between(0, 10)
    on_bad_file: str = one_of("error", "skip")
    verify: str = one_of("fast", "full")
    near_duplicates: str = one_of("off", "report", "group")
    max_pixels: int = between(*_PIXELS)
    cache_folder: str = MISSING
    workers: int = between(1, 1024)
    tiling: Tiling | None = None
    synthetic_defects: float | None = between(0, 1, default=None)
    copy_paste: float | None = between(0, 1, default=None)
    real_defects: float | None = between(0, 1, default=None)
    synthesis: Synthesis = MISSING
    defect_fraction: float = between(0, 1)
    good_fraction: float = between(0.0001, 1)
    augmentation: Augmentation = MISSING


@dataclass
class Synthetic(Data):
    root: str = MISSING
    seed: int = between(*_SEEDS)
    size_px: int = between(64, 4096)
    counts: dict[str, int] = between(0, 100_000)  # noqa: RUF009 - returns a field


@dataclass
class Files(Data):
    """Settings of all data sets that are not rendered."""

    exclude: list[str] = MISSING
    good_class: str | None = None
    class_map: dict[str, Any] = MISSING
    mask_values: Any = MISSING  # auto, binary, or a class for each value or colour
    mask_ignore: int | None = between(1, 65535, default=None)
    mask_inverted: bool = MISSING
    bit_depth: Any = one_of("auto", *_DEPTHS)  # noqa: RUF009 - returns a field
    exif_orientation: bool = MISSING


@dataclass
class Layout(Files):
    """A data set whose samples are found by the names of folders and files."""

    root: str = MISSING


@dataclass
class Visa(Layout):
    category: str | None = None
    split_csv: str = one_of("1cls", "2cls_highshot", "2cls_fewshot")


@dataclass
class Folder(Layout):
    masks: str | None = None
    mask_suffixes: list[str] = MISSING
    unannotated: str = one_of("error", "good")


@dataclass
class Annotations(Layout):
    """A data set whose labels are in annotation files."""

    annotations: str | None = None
    boxes_as_masks: bool = MISSING
    unannotated: str = one_of("error", "good", "skip")


@dataclass
class Auto(Folder):
    """A data set whose layout is found from its folders and files."""

    category: str | None = None
    annotations: str | None = None
    boxes_as_masks: bool = MISSING
    unannotated: str = one_of("auto", "error", "good", "skip")


@dataclass
class Manifest(Files):
    path: str = MISSING
    encoding: str | None = None
    columns: dict[str, Any] = MISSING


@dataclass
class FromRun:
    """The data set of a finished run, and where it is now."""

    name: str = MISSING
    root: str | None = None
    path: str | None = None
    masks: str | None = None
    annotations: str | None = None
    cache_folder: str | None = None
    workers: int | None = between(1, 1024, default=None)


@dataclass
class Named:
    name: str = MISSING


@dataclass
class Holdout(Named):
    val: float = between(0, 0.95)
    test: float = between(0, 0.95)
    seed: int = between(*_SEEDS)


@dataclass
class KFold(Named):
    folds: int = between(2, 1000)
    fold: int = between(0, 999)
    val: float = between(0, 0.95)
    seed: int = between(*_SEEDS)


@dataclass
class AutoSplit(Named):
    """`holdout` and `one_class` hold the defaults of the values that are null."""

    val: float | None = between(0, 0.95, default=None)
    test: float | None = between(0, 0.95, default=None)
    folds: int | None = between(2, 1000, default=None)
    fold: int | None = between(0, 999, default=None)
    seed: int | None = between(*_SEEDS, default=None)
    holdout: Holdout = MISSING
    one_class: KFold = MISSING


@dataclass
class ValAsTest(Named):
    seed: int = between(*_SEEDS)


@dataclass
class SplitManifest(Named):
    path: str = MISSING


@dataclass
class Conformal(Named):
    target_fpr: float = MISSING


@dataclass
class Sigma(Conformal):
    num_std: float = between(0, 100)


@dataclass
class ModelConfig:
    """Settings of all models; `builder` is a name in `models.factory.BUILDERS`."""

    builder: str = MISSING
    name: str = MISSING
    weights: str = MISSING


@dataclass
class ClassifierConfig(ModelConfig):
    pool: str = one_of("default", "avg", "max", "avgmax", "catavgmax", "topk")
    mask_loss_weight: float = between(*_WEIGHTS)
    use_mask_logits: bool = MISSING


@dataclass
class CustomResNetConfig(ClassifierConfig):
    builder: str = one_of("custom_resnet")
    block: str = one_of("basic", "bottleneck")
    depths: list[int] = between(1, 100)  # noqa: RUF009 - returns a field
    width: int = between(1, 1024)
    dropout: float = between(0, 0.99)


@dataclass
class LibraryClassifierConfig(ClassifierConfig):
    builder: str = one_of("timm", "torchvision")
    options: dict[str, Any] = MISSING


@dataclass
class AutoencoderConfig(ModelConfig):
    builder: str = one_of("autoencoder")
    corruption: str = one_of("none", "noise", "cutout", "synthetic_defects")
    width: int = between(1, 1024)
    depth: int = between(1, 12)
    bottleneck: int = between(1, 8192)
    skips: Any = one_of("auto", True, False)  # noqa: RUF009 - returns a field
    head: Any = one_of("auto", True, False)  # noqa: RUF009
    head_width: int = between(1, 1024)


@dataclass
class PatchCoreConfig(ModelConfig):
    builder: str = one_of("patchcore")
    encoder: str = MISSING
    encoder_options: dict[str, Any] = MISSING
    strides: list[int] = between(2, 32)  # noqa: RUF009 - returns a field
    neighbourhood: int = between(1, 15)
    coreset: str = one_of("greedy", "random")
    coreset_size: int = between(2, 10_000_000)
    candidates: int = between(2, 10_000_000)
    num_neighbors: int = between(1, 100)


@dataclass
class SegmenterConfig(ModelConfig):
    builder: str = one_of("segmenter")
    architecture: str = MISSING
    encoder: str = MISSING
    encoder_depth: int = between(3, 5)
    encoder_options: dict[str, Any] = MISSING
    decoder_channels: Any = MISSING
    options: dict[str, Any] = MISSING
    classes: str = one_of("defects", "binary")


@dataclass
class OptimizerConfig:
    """Settings of all optimizers; `builder` is a name in `tasks.optimization.OPTIMIZERS`."""

    builder: str = MISSING
    lr: float = between(*_RATES)
    weight_decay: float = between(0, 100)


@dataclass
class AdamW(OptimizerConfig):
    builder: str = one_of("adam", "adamw")
    betas: list[float] = between(0, 0.999999)  # noqa: RUF009 - returns a field
    eps: float = between(1e-20, 1)


@dataclass
class SGD(OptimizerConfig):
    builder: str = one_of("sgd")
    momentum: float = between(0, 0.9999)
    nesterov: bool = MISSING


@dataclass
class LibraryOptimizer(OptimizerConfig):
    builder: str = one_of("torch", "timm")
    name: str = MISSING
    options: dict[str, Any] = MISSING


@dataclass
class Constant:
    """No schedule; `builder` is a name in `tasks.optimization.SCHEDULES`."""

    builder: str = one_of("none")


@dataclass
class Cosine:
    builder: str = one_of("cosine")
    warmup: float = between(0, 0.99)
    final: float = between(0, 1)


@dataclass
class OneCycle(Cosine):
    builder: str = one_of("one_cycle")
    initial: float = between(1e-6, 1)


@dataclass
class Plateau:
    builder: str = one_of("plateau")
    factor: float = between(1e-6, 0.9999)
    patience: int = between(0, 1_000_000)
    min_lr: float = between(0, 1000)


@dataclass
class FineTune(Named):
    head_epochs: int = between(-1, 1_000_000)
    layer_decay: float = between(1e-3, 1)
    head_lr_mult: float = between(1e-3, 1e6)


@dataclass
class Trainer:
    """Arguments of Lightning's Trainer, then `channels_last` and `threads`."""

    accelerator: str = one_of("auto", "cpu", "gpu", "cuda", "mps", default="auto")
    strategy: str = "auto"
    devices: Any = "auto"
    num_nodes: int = between(1, 10_000, default=1)
    precision: Any = "auto"
    max_epochs: int | None = None
    min_epochs: int | None = between(0, 1_000_000, default=None)
    max_steps: int = -1
    max_time: str | None = None
    fast_dev_run: Any = False
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    check_val_every_n_epoch: int = between(1, 1_000_000, default=1)
    log_every_n_steps: int = between(0, 1_000_000_000, default=50)
    accumulate_grad_batches: int = between(*_COUNTS, default=1)
    gradient_clip_val: float | None = between(0, 1e12, default=None)
    gradient_clip_algorithm: str | None = one_of("norm", "value", default=None)
    deterministic: Any = one_of(True, False, "warn", default=None)  # noqa: RUF009 - returns a field
    benchmark: bool | None = None
    profiler: str | None = one_of("simple", "advanced", "pytorch", default=None)
    detect_anomaly: bool = False
    sync_batchnorm: bool = False
    enable_progress_bar: bool = True
    channels_last: Any = one_of("auto", True, False, default="auto")  # noqa: RUF009
    threads: Any = "auto"


@dataclass
class EarlyStopping:
    patience: int = between(1, 1_000_000)
    min_delta: float = between(0, 1e6)


@dataclass
class Ema:
    decay: float = between(0, 0.999999)


@dataclass
class Callbacks:
    early_stopping: EarlyStopping | None = None
    ema: Ema | None = None


@dataclass
class TensorBoard:
    """TensorBoard and metrics.csv only; `builder` is a name in `workflows.loggers.LOGGERS`."""

    builder: str = one_of("tensorboard")


@dataclass
class Wandb:
    builder: str = one_of("wandb")
    project: str = MISSING
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: list[str] = MISSING
    save_dir: str = MISSING
    offline: bool = MISSING


@dataclass
class MLFlow:
    builder: str = one_of("mlflow")
    experiment_name: str = MISSING
    run_name: str | None = None
    tags: dict[str, str] = MISSING
    tracking_uri: str = MISSING


COMMANDS = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "app": App,
    "export": Export,
    "compare": Compare,
    "convert": Convert,
}
EXPERIMENTS = ("experiment", "hparams_search")
"""Groups whose choices are settings of all groups."""
GROUPS: dict[str, dict[str, type]] = {  # by the `builder` or else the `name` of each choice
    "task": {
        "classification": ClassificationConfig,
        "anomaly_detection": AnomalyDetectionConfig,
        "patches": PatchesConfig,
        "segmentation": SegmentationConfig,
    },
    "data": {
        "synthetic": Synthetic,
        "auto": Auto,
        "mvtec": Layout,
        "visa": Visa,
        "folder": Folder,
        **dict.fromkeys(ANNOTATION_FORMATS, Annotations),
        "manifest": Manifest,
        "from_run": FromRun,
    },
    "split": {
        "auto": AutoSplit,
        "holdout": Holdout,
        "kfold": KFold,
        "one_class": KFold,
        "dataset": Holdout,
        "test_only": Named,
        "from_run": Named,
        "val_as_test": ValAsTest,
        "manifest": SplitManifest,
    },
    "model": {
        "custom_resnet": CustomResNetConfig,
        "timm": LibraryClassifierConfig,
        "torchvision": LibraryClassifierConfig,
        "autoencoder": AutoencoderConfig,
        "segmenter": SegmenterConfig,
        "patchcore": PatchCoreConfig,
    },
    "threshold": {
        "argmax": Named,
        "operating_point": Named,
        "conformal": Conformal,
        "sigma": Sigma,
        "f1": Conformal,
    },
    "optimizer": {
        "adam": AdamW,
        "adamw": AdamW,
        "sgd": SGD,
        "torch": LibraryOptimizer,
        "timm": LibraryOptimizer,
    },
    "scheduler": {"cosine": Cosine, "one_cycle": OneCycle, "plateau": Plateau, "none": Constant},
    "finetune": {"finetune": FineTune},
    "trainer": {"trainer": Trainer},
    "callbacks": {"callbacks": Callbacks},
    "logger": {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": MLFlow},
}


def register_schemas() -> None:
    """Register the schemas with Hydra, as `schema/<command>` and `schema/<group>/<name>`."""
    store = ConfigStore.instance()
    for name, schema in COMMANDS.items():
        store.store(group="schema", name=name, node=schema, package="_global_")
    for group, schemas in GROUPS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)


@dataclass(frozen=True)
class Setting:
    """The type of a setting, and what its value must be; a mapping has its values' constraint."""

    hint: Any
    constraint: Mapping[str, Any]

    @property
    def type(self) -> Any:
        """Without `None`."""
        kinds = get_args(self.hint)
        return kinds[0] if NoneType in kinds else self.hint


@cache
def settings() -> Mapping[str, Setting]:
    """Every setting by its dotted key; where several choices have it, with the values of all."""
    found: dict[str, Setting] = {}
    prefixed = [("", schema) for schema in COMMANDS.values()]
    prefixed += [(f"{group}.", schema) for group in GROUPS for schema in GROUPS[group].values()]
    for prefix, schema in prefixed:
        for key, setting in _settings(schema, prefix):
            former = found.get(key, setting).constraint.get("choices", ())
            choices = dict.fromkeys([*former, *setting.constraint.get("choices", ())])
            found[key] = replace(setting, constraint={"choices": choices}) if choices else setting
    return found


@cache
def settings_of(command: str) -> tuple[str, ...]:
    """The dotted keys and the groups that an entry point has, with those of all choices."""
    schema = COMMANDS[command]
    found = dict.fromkeys(key for key, _ in _settings(schema, ""))
    for group in [item.name for item in fields(schema) if item.type == "Any"]:
        for choice in GROUPS.get(group, {}).values():
            found |= dict.fromkeys(key for key, _ in _settings(choice, f"{group}."))
    return (*found, *(EXPERIMENTS if command == "train" else ()))


def choices_with(key: str) -> list[str]:
    """The choices of a group that have a setting, by their builder or else their name."""
    group, _, name = key.partition(".")
    schemas = GROUPS.get(group, {}).items()
    return [choice for choice, schema in schemas if name in dict(_settings(schema, ""))]


def constraint_of(config: DictConfig, key: str) -> Mapping[str, Any]:
    """What a value must be by the schema of the configuration's choices, where it has them."""
    parent, _, name = key.rpartition(".")
    schema = OmegaConf.get_type(OmegaConf.select(config, parent) if parent else config)
    if is_dataclass(schema):
        return next((item.metadata for item in fields(schema) if item.name == name), {})
    return settings()[key].constraint  # of a group that has no schema


def _settings(schema: type, prefix: str) -> Iterator[tuple[str, Setting]]:
    hints = get_type_hints(schema)
    for item in fields(schema):
        setting = Setting(hints[item.name], item.metadata)
        yield prefix + item.name, setting
        if is_dataclass(setting.type):
            yield from _settings(setting.type, f"{prefix}{item.name}.")  # type: ignore[arg-type]
