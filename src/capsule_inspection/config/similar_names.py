"""The setting that a name may mean: by what other libraries call it, and by its letters."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_OTHER_NAMES = {
    "optimizer.lr": "lr learning_rate lr0 base_lr",
    "task.epochs": "epochs epoch max_epochs num_epochs n_epochs",
    "task.image_size": "image_size imgsz img_size input_size size resize resolution",
    "data.image_size": "image_size",
    "task.batch_size batch_size": "batch_size batch bs train_batch_size",
    "data.workers workers": "workers num_workers j n_jobs",
    "trainer.accelerator trainer.devices": "device",
    "trainer.devices": "devices gpu gpus num_gpus cuda",
    "trainer.precision": "precision amp half fp16",
    "model.weights run": "weights pretrained checkpoint ckpt ckpt_path initial_checkpoint load",
    "run": "model model_path",
    "model.name": "name model_name arch",
    "model.encoder": "backbone encoder encoder_name",
    "optimizer": "optim opt",
    "scheduler": "sched lr_scheduler",
    "input": "source images image img path data data_dir folder root",
    "data.root": "dataset data_dir data_path data_root root path source input train_dir",
    "data.good_class": "normal_class normal_dir",
    "threshold": "conf conf_thres confidence thres",
    "output hydra.run.dir": "output out output_dir outdir save_dir project target dest log_dir",
    "callbacks.early_stopping.patience": "patience early_stopping",
    "split.fold": "fold",
    "split.val": "val val_split val_fraction val_size",
    "split.test": "test test_split test_size",
    "seed": "random_seed random_state manual_seed",
    "int8": "quantize quantization",
    "format": "include export_mode",
    "runs": "run",
    "port": "server_port",
    "host": "server_name server_address",
}
"""Our settings, and what Ultralytics, timm, anomalib, Lightning and scikit-learn call them."""


def meant(name: str, valid: Iterable[str]) -> list[str]:
    """The valid names that are the same thing as `name`, or end with it."""
    names, last = list(valid), name.rpartition(".")[2]
    for keys, others in _OTHER_NAMES.items():
        found = [key for key in keys.split() if key in names and last in others.split()]
        if found:
            return found
    same = [key for key in names if key.rpartition(".")[2] == last]
    fewest = min((key.count(".") for key in same), default=0)
    return [key for key in same if key.count(".") == fewest][:3]


def nearest(name: str, valid: Iterable[str]) -> list[str]:
    """Up to three valid names that `name` may mean; one where one is clearly the best."""
    names = list(dict.fromkeys(valid))
    if found := meant(name, names):
        return found
    ratios = {key: _similarity(name, key) for key in names}
    best = max(ratios.values(), default=0)
    near = [key for key, ratio in ratios.items() if ratio >= max(0.65, best - 0.05)]
    return sorted(near, key=lambda key: -ratios[key])[:3]


def _similarity(name: str, key: str) -> float:
    """Of the whole names, or of the last part of `key` where the name has no other."""
    return max(
        difflib.SequenceMatcher(None, name, part).ratio() for part in {key, key.rpartition(".")[2]}
    )


def suggestion(name: str, valid: Iterable[str]) -> str:
    """A sentence with the most similar names, or with all valid ones if there are up to 20."""
    names = sorted(set(valid))
    near = nearest(name, names)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Valid are: {', '.join(names)}." if len(names) <= 20 else ""
