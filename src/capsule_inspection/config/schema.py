"""Types of every setting; the values stand in `conf/`.

Each `conf/<group>/<choice>.yaml` names its schema in its defaults list, so that Hydra itself
refuses unknown keys and values of the wrong type, before torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Train:
    """The whole configuration of `train.py`; the groups have schemas of their own."""

    seed: int = MISSING
    resume: str | None = None
    save_weights: bool = MISSING
    task: Any = MISSING
    data: Any = MISSING
    split: Any = MISSING
    threshold: Any = None
    model: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    finetune: Any = MISSING
    trainer: Any = MISSING
    callbacks: Any = MISSING
    logger: Any = MISSING


@dataclass
class Evaluate:
    """The whole configuration of `evaluate.py`."""

    run: str = MISSING
    output: str | None = None
    stage: str = MISSING
    data: Any = MISSING
    split: Any = MISSING
    trainer: Any = MISSING


@dataclass
class Predict:
    """The whole configuration of `predict.py`."""

    run: str = MISSING
    input: str = MISSING
    output: str | None = None
    batch_size: int = MISSING
    workers: Any = MISSING
    overlays: str = MISSING
    explain: str = MISSING
    max_pixels: int | None = None
    trainer: Any = MISSING


@dataclass
class App:
    """The whole configuration of `app.py`."""

    run: str | None = None
    host: str = MISSING
    port: int = MISSING
    max_upload_mb: int = MISSING
    max_pixels: int | None = None
    visitors: int = MISSING
    neighbours: int = MISSING
    trainer: Any = MISSING


@dataclass
class Export:
    """The whole configuration of `export.py`."""

    run: str = MISSING
    format: str = MISSING
    int8: bool = MISSING
    output: str | None = None
    images: int = MISSING
    calibration_images: int = MISSING
    threads: Any = MISSING
    data: Any = MISSING


@dataclass
class Compare:
    """The whole configuration of `compare.py`."""

    runs: list[str] = MISSING
    output: str | None = None
    reference: str | None = None


@dataclass
class Task:
    """What all tasks have in common."""

    name: str = MISSING
    image_size: list[int] = MISSING
    batch_size: int = MISSING
    epochs: int = MISSING
    learning_rate: float = MISSING
    monitor: str = MISSING
    monitor_mode: str = MISSING
    monitor_smoothing: float = MISSING


@dataclass
class Painting:
    variants: int = MISSING
    natural: float = MISSING


@dataclass
class LossWeights:
    l1: float = MISSING
    l2: float = MISSING
    ssim: float = MISSING
    ms_ssim: float = MISSING
    gradient: float = MISSING
    spoilt: float = MISSING


@dataclass
class AnomalyMap:
    source: str = MISSING
    l1: float = MISSING
    ms_ssim: float = MISSING
    gradient: float = MISSING
    normalise: bool = MISSING
    smoothing: float = MISSING
    context: float = MISSING
    foreground: bool = MISSING
    margin: float = MISSING
    top_share: float = MISSING


@dataclass
class PaintedTask(Task):
    """What tasks have in common that paint defects."""

    views: int = MISSING
    painting: Painting = MISSING


@dataclass
class WindowTask(PaintedTask):
    """What tasks have in common that show windows of images."""

    window: list[int] | None = None
    whole_from: Any = MISSING  # a share, or auto


@dataclass
class Mixture:
    """What tasks have in common that learn from masks of real, painted and pasted defects."""

    painted: float = MISSING
    pasted: float = MISSING
    defects: float = MISSING
    defect_weight: float = MISSING
    focal_gamma: float = MISSING


@dataclass
class ReconstructionTask(WindowTask):
    calibration: float = MISSING
    corrupted: float = MISSING
    loss_weights: LossWeights = MISSING
    head_weight: float = MISSING
    map: AnomalyMap = MISSING


@dataclass
class SegmentationLossWeights:
    cross_entropy: float = MISSING
    dice: float = MISSING
    focal: float = MISSING
    focal_tversky: float = MISSING


@dataclass
class ClassificationTask(PaintedTask, Mixture):
    sampling: str = MISSING
    loss: str = MISSING
    class_weights: str = MISSING
    logit_adjustment: float = MISSING
    temperature_scaling: bool = MISSING
    label_smoothing: float = MISSING
    mixup: float = MISSING
    mask_losses: SegmentationLossWeights = MISSING


@dataclass
class SegmentationTask(WindowTask, Mixture):
    loss_weights: SegmentationLossWeights = MISSING


@dataclass
class Augmentation:
    rotation_deg: float = MISSING
    shift: float = MISSING
    scale: float = MISSING
    vertical_flip: float = MISSING
    horizontal_flip: float = MISSING
    brightness: float = MISSING
    contrast: float = MISSING
    saturation: float = MISSING
    hue_deg: float = MISSING
    noise: float = MISSING


@dataclass
class Data:
    """What all data sets have in common."""

    name: str = MISSING
    root: str | None = None
    image_size: list[int] = MISSING
    roi: Any = MISSING
    roi_margin: float = MISSING
    on_bad_file: str = MISSING
    verify: str = MISSING
    near_duplicates: str = MISSING
    max_pixels: int = MISSING
    cache_folder: str = MISSING
    workers: int = MISSING
    mode: str = MISSING
    tile: list[int] = MISSING
    overlap: float = MISSING
    native_size: list[int] | None = None
    painted: float | None = None
    pasted: float | None = None
    real_defects: float = MISSING
    augmentation: Augmentation = MISSING


@dataclass
class Synthetic(Data):
    seed: int = MISSING
    size_px: int = MISSING
    counts: dict[str, int] = MISSING


@dataclass
class Mvtec(Data):
    root: str = MISSING


@dataclass
class Folder(Data):
    root: str = MISSING
    good_class: str = MISSING
    masks: str | None = None


@dataclass
class Manifest(Data):
    path: str = MISSING
    good_class: str = MISSING


@dataclass
class AsTrained:
    """Stands for the data set that a run was trained on; the rest says where it is now."""

    name: str = MISSING
    root: str | None = None
    path: str | None = None
    masks: str | None = None
    cache_folder: str | None = None
    workers: int | None = None


@dataclass
class Named:
    name: str = MISSING


@dataclass
class Holdout:
    name: str = MISSING
    val: float = MISSING
    test: float = MISSING
    seed: int = MISSING


@dataclass
class KFold:
    name: str = MISSING
    folds: int = MISSING
    fold: int = MISSING
    val: float = MISSING
    seed: int = MISSING


@dataclass
class Origin:
    name: str = MISSING
    seed: int = MISSING


@dataclass
class SplitManifest:
    name: str = MISSING
    path: str = MISSING


@dataclass
class Conformal:
    name: str = MISSING
    false_alarm_rate: float = MISSING


@dataclass
class Sigma(Conformal):
    sigmas: float = MISSING


@dataclass
class Network:
    """What all networks have in common; `_target_` builds them."""

    _target_: str = MISSING
    name: str = MISSING
    weights: str = MISSING


@dataclass
class ClassifierNetwork(Network):
    pool: str = MISSING
    mask_loss: float = MISSING
    reads_mask: bool = MISSING


@dataclass
class Autoencoder(Network):
    corruption: str = MISSING
    width: int = MISSING
    depth: int = MISSING
    bottleneck: int = MISSING
    skips: Any = MISSING
    head: Any = MISSING
    head_width: int = MISSING


@dataclass
class CustomResNet(ClassifierNetwork):
    block: str = MISSING
    depths: list[int] = MISSING
    width: int = MISSING
    dropout: float = MISSING


@dataclass
class LibraryNetwork(ClassifierNetwork):
    options: dict[str, Any] = MISSING


@dataclass
class Segmenter(Network):
    architecture: str = MISSING
    encoder: str = MISSING
    encoder_depth: int = MISSING
    encoder_options: dict[str, Any] = MISSING
    decoder_channels: Any = MISSING
    options: dict[str, Any] = MISSING
    classes: str = MISSING


@dataclass
class AdamW:
    _target_: str = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    betas: list[float] = MISSING
    eps: float = MISSING


@dataclass
class SGD:
    _target_: str = MISSING
    lr: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    nesterov: bool = MISSING


@dataclass
class LibraryOptimizer:
    _target_: str = MISSING
    name: str = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING
    options: dict[str, Any] = MISSING


@dataclass
class Cosine:
    _target_: str = MISSING
    warmup: float = MISSING
    final: float = MISSING


@dataclass
class OneCycle:
    _target_: str = MISSING
    warmup: float = MISSING
    initial: float = MISSING
    final: float = MISSING


@dataclass
class Plateau:
    _target_: str = MISSING
    factor: float = MISSING
    patience: int = MISSING
    min_lr: float = MISSING


@dataclass
class Constant:
    _target_: str = MISSING


@dataclass
class FineTune:
    """`head_epochs` of the head alone come first; -1 means always."""

    name: str = MISSING
    head_epochs: int = MISSING
    layer_decay: float = MISSING
    head_lr_factor: float = MISSING


@dataclass
class Trainer:
    """Names of Lightning's Trainer, and what it leaves to the machine."""

    accelerator: str = "auto"
    strategy: str = "auto"
    devices: Any = "auto"
    num_nodes: int = 1
    precision: Any = "auto"
    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    max_time: str | None = None
    fast_dev_run: Any = False
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_predict_batches: Any = None
    overfit_batches: Any = 0.0
    check_val_every_n_epoch: int = 1
    log_every_n_steps: int = 50
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    deterministic: Any = None
    benchmark: bool | None = None
    profiler: str | None = None
    detect_anomaly: bool = False
    sync_batchnorm: bool = False
    enable_progress_bar: bool = True
    channels_last: Any = "auto"
    threads: Any = "auto"


@dataclass
class EarlyStopping:
    patience: int = MISSING
    min_delta: float = MISSING


@dataclass
class Ema:
    decay: float = MISSING


@dataclass
class Callbacks:
    early_stopping: EarlyStopping | None = None
    ema: Ema | None = None


@dataclass
class Logger:
    """Optional loggers as `_target_` nodes; TensorBoard and metrics.csv are always written."""

    extra: dict[str, Any] | None = None


SCHEMAS: dict[tuple[str, str], type] = {
    ("task", "classification"): ClassificationTask,
    ("task", "reconstruction"): ReconstructionTask,
    ("task", "segmentation"): SegmentationTask,
    ("data", "synthetic"): Synthetic,
    ("data", "mvtec"): Mvtec,
    ("data", "folder"): Folder,
    ("data", "manifest"): Manifest,
    ("data", "as_trained"): AsTrained,
    ("split", "named"): Named,
    ("split", "holdout"): Holdout,
    ("split", "kfold"): KFold,
    ("split", "origin"): Origin,
    ("split", "manifest"): SplitManifest,
    ("model", "custom_resnet"): CustomResNet,
    ("model", "library"): LibraryNetwork,
    ("model", "autoencoder"): Autoencoder,
    ("model", "segmenter"): Segmenter,
    ("threshold", "conformal"): Conformal,
    ("threshold", "sigma"): Sigma,
    ("threshold", "f1"): Conformal,
    ("optimizer", "adamw"): AdamW,
    ("optimizer", "sgd"): SGD,
    ("optimizer", "library"): LibraryOptimizer,
    ("scheduler", "cosine"): Cosine,
    ("scheduler", "one_cycle"): OneCycle,
    ("scheduler", "plateau"): Plateau,
    ("scheduler", "none"): Constant,
    ("finetune", "finetune"): FineTune,
    ("trainer", "trainer"): Trainer,
    ("callbacks", "callbacks"): Callbacks,
    ("logger", "logger"): Logger,
}


def register_schemas() -> None:
    """Make the schemas known to Hydra, as `schema/<group>` and `schema/<door>`."""
    store = ConfigStore.instance()
    for (group, name), schema in SCHEMAS.items():
        store.store(group=f"schema/{group}", name=name, node=schema)
    store.store(group="schema", name="train", node=Train, package="_global_")
    store.store(group="schema", name="evaluate", node=Evaluate, package="_global_")
    store.store(group="schema", name="predict", node=Predict, package="_global_")
    store.store(group="schema", name="app", node=App, package="_global_")
    store.store(group="schema", name="export", node=Export, package="_global_")
    store.store(group="schema", name="compare", node=Compare, package="_global_")
