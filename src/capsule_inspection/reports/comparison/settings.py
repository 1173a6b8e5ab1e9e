"""Groups runs into models by their settings, and names the models.

From the dotted settings of config.yaml; reads no files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from capsule_inspection.reports.run.run_folder import RunFolder

Settings = Mapping[str, Any]

MAX_NAME_LENGTH = 42
LOSS_WEIGHTS = "loss_weights"
SEED, FOLD = "seed", "split.fold"
MODEL, DATA, ENCODER, TASK = "model.name", "data.name", "model.encoder", "task.name"
_IGNORED = (
    SEED, FOLD, "resume", "save_weights", "output", "compare",
    # Defaults of trainer.max_epochs, optimizer.lr, finetune.head_epochs and of data keys.
    "task.epochs", "task.learning_rate", "task.head_epochs", "task.image_size",
    "task.synthetic_defects", "task.copy_paste", "task.real_defects",
    "data.root", "data.cache_folder", "data.workers", "data.verify", "logger",
    "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.num_nodes",
    "trainer.threads", "trainer.enable_progress_bar", "trainer.log_every_n_steps",
    "trainer.profiler",
)  # fmt: skip
"""Settings that do not make another model: locations, hardware, repetition, what decides a
comparison, and duplicates."""


def model_settings(run: RunFolder) -> dict[str, Any]:
    """The settings of a model and its data; equal for runs that differ in fold or seed only."""
    settings = {
        key: value
        for key, value in run.settings.items()
        if not any(key == name or key.startswith(f"{name}.") for name in _IGNORED)
    }
    return settings | {
        MODEL: " ".join(str(run.record.get("model", run.settings.get(MODEL, "model"))).split()),
        "images": run.record.get("data", {}).get("fingerprint"),
        "evaluation of": run.record.get("run"),
    }


def settings_key(settings: Settings) -> str:
    """Equal for equal settings, whatever their order, and for 0 and 0.0."""
    normalized = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in settings.items()
    }
    return json.dumps(normalized, sort_keys=True, default=str)


def model_names(models: Sequence[Settings]) -> list[str]:
    """A name for each model: its architecture, and the settings in which models of it differ.

    Where a name would be long all of its architecture get letters, and `distinguishing_settings`
    has the settings. Models with equal settings get numbers.
    """
    names = []
    for own in models:
        keys = _distinguishing_keys(own, models)
        parts = [f"{_short_key(key, keys)}={_format_value(own.get(key))}" for key in keys]
        names.append(", ".join([own[MODEL], *parts]))
    named = list(zip(names, models, strict=True))
    with_letters = {own[MODEL] for name, own in named if len(name) > MAX_NAME_LENGTH}
    letters: dict[str, dict[str, str]] = {}
    for row, (_, own) in enumerate(named):
        if own[MODEL] in with_letters:
            known = letters.setdefault(own[MODEL], {})
            number = len(known)
            letter = chr(ord("A") + number) if number < 26 else str(number + 1)
            names[row] = f"{own[MODEL]} {known.setdefault(settings_key(own), letter)}"
    return [
        f"{name} ({names[: i + 1].count(name)})" if names[:i].count(name) else name
        for i, name in enumerate(names)
    ]


def distinguishing_settings(settings: Settings, models: Sequence[Settings]) -> str:
    """The settings in which a model differs from others of its architecture."""
    keys = _distinguishing_keys(settings, models)
    return ", ".join(f"{key}={_format_value(settings.get(key))}" for key in keys)


def differing_settings(models: Sequence[Settings]) -> list[str]:
    """The settings in which models differ, in the order of their files."""
    keys = list(dict.fromkeys(key for settings in models for key in settings))
    return [key for key in keys if len({settings_key({key: own.get(key)}) for own in models}) > 1]


def _distinguishing_keys(settings: Settings, models: Sequence[Settings]) -> list[str]:
    """The keys of the settings in which models of this architecture differ.

    Also the encoder where the models of its task have different ones. Without the fingerprint
    of the images where the name of the data set differs.
    """
    keys = differing_settings([other for other in models if other[MODEL] == settings[MODEL]])
    keys = [key for key in keys if key != "images" or DATA not in keys]
    encoders = {
        other[ENCODER]
        for other in models
        if ENCODER in other and other.get(TASK) == settings.get(TASK)
    }
    has_encoder = ENCODER in settings and ENCODER not in keys and len(encoders) > 1
    return [ENCODER, *keys] if has_encoder else keys


def _short_key(key: str, keys: Sequence[str]) -> str:
    """The last part of a dotted key; more of it where that is ambiguous.

    Loss weights keep their prefix: the name `dice=0.5` would look like a result.
    """
    before, _, last = key.rpartition(".")
    if before.endswith(LOSS_WEIGHTS):
        return f"{LOSS_WEIGHTS}.{last}"
    alike = [other for other in keys if other.rpartition(".")[2] == last]
    return last if len(alike) == 1 and last != "name" else key.removesuffix(".name")


def _format_value(value: Any) -> str:
    text = json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= 24 else f"{text[:12]}…{text[-8:]}"
