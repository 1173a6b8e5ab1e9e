"""Which runs are one model trained several times, and what each model is called.

From the dotted settings of config.yaml; reads no files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from capsule_inspection.reports.run_folder import RunFolder

Settings = Mapping[str, Any]

LONGEST = 36
LOSS_WEIGHTS = "loss_weights"
SEED, FOLD = "seed", "split.fold"
MODEL, DATA, ENCODER = "model.name", "data.name", "model.encoder"
_NOT_OF_THE_MODEL = (
    SEED,
    FOLD,
    "resume",
    "save_weights",
    # Defaults that trainer.max_epochs, optimizer.lr and settings of data take up.
    "task.epochs",
    "task.learning_rate",
    "task.image_size",
    "task.painted",
    "task.pasted",
    "data.root",
    "data.cache_folder",
    "data.workers",
    "data.verify",
    "logger",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.strategy",
    "trainer.num_nodes",
    "trainer.threads",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
    "trainer.profiler",
    "callbacks.ema.start_epoch",  # of runs of before, in which it did nothing
)
"""Data's place, machine, repetition, and what stands elsewhere: none of it makes another model."""


def model_settings(run: RunFolder) -> dict[str, Any]:
    """What makes a run's model and its data; equal for runs that differ in fold or seed only."""
    settings = {
        key: value
        for key, value in run.settings.items()
        if not any(key == name or key.startswith(f"{name}.") for name in _NOT_OF_THE_MODEL)
    }
    return settings | {
        MODEL: run.record.get("model", run.settings.get(MODEL, "model")),
        "images": run.record.get("data", {}).get("fingerprint"),
        "evaluation of": run.record.get("run"),
    }


def as_key(settings: Settings) -> str:
    """Equal for equal settings, whatever their order, and whether they say 0 or 0.0."""
    whole = {key: _number(value) for key, value in settings.items()}
    return json.dumps(whole, sort_keys=True, default=str)


def _number(value: Any) -> Any:
    """A whole number as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def names_of(models: Sequence[Settings]) -> list[str]:
    """A name for each model: that of its network, and the settings that tell namesakes apart.

    Where those are many the namesakes get letters, and `told_apart` says what they stand for. Two
    models of equal settings get a number behind their name.
    """
    names = [_name(settings, models) for settings in models]
    names = [
        _lettered(settings, models) if _has_long(settings, models, names) else name
        for name, settings in zip(names, models, strict=True)
    ]
    return [
        f"{name} ({names[: i + 1].count(name)})" if names[:i].count(name) else name
        for i, name in enumerate(names)
    ]


def told_apart(settings: Settings, models: Sequence[Settings]) -> str:
    """The settings of a model in which its namesakes differ; empty where it has none."""
    keys = _told_of(settings, models)
    return ", ".join(f"{key}={_text(settings.get(key))}" for key in keys)


def differing(models: Sequence[Settings]) -> list[str]:
    """The settings in which models differ, in the order of their files."""
    keys = list(dict.fromkeys(key for settings in models for key in settings))
    return [key for key in keys if len({as_key({key: own.get(key)}) for own in models}) > 1]


def _namesakes(settings: Settings, models: Sequence[Settings]) -> list[Settings]:
    return [other for other in models if other[MODEL] == settings[MODEL]]


def _has_long(settings: Settings, models: Sequence[Settings], names: Sequence[str]) -> bool:
    """Whether any namesake's name is too long for a table; then all of them get letters."""
    return any(
        len(name) > LONGEST
        for name, other in zip(names, models, strict=True)
        if other[MODEL] == settings[MODEL]
    )


def _lettered(settings: Settings, models: Sequence[Settings]) -> str:
    alike = [as_key(other) for other in _namesakes(settings, models)]
    number = list(dict.fromkeys(alike)).index(as_key(settings))
    letter = chr(ord("A") + number) if number < 26 else str(number + 1)
    return f"{settings[MODEL]} {letter}"


def _told_of(settings: Settings, models: Sequence[Settings]) -> list[str]:
    """The settings that tell a model from its namesakes.

    The encoder too where those of other architectures are not the same: it is half of the network.
    """
    keys = _shown(differing(_namesakes(settings, models)))
    encoders = {other[ENCODER] for other in models if ENCODER in other}
    if ENCODER in settings and ENCODER not in keys and len(encoders) > 1:
        return [ENCODER, *keys]
    return keys


def _name(settings: Settings, models: Sequence[Settings]) -> str:
    keys = _told_of(settings, models)
    parts = [f"{_short(key, keys)}={_text(settings.get(key))}" for key in keys]
    return ", ".join([str(settings[MODEL]), *parts])


def _shown(keys: list[str]) -> list[str]:
    """Settings that need to be told: without the fingerprint where the data's name says it."""
    return [key for key in keys if key != "images" or DATA not in keys]


def _short(key: str, keys: Sequence[str]) -> str:
    """The last part of a dotted name, with the part before it where that is not enough.

    Nor is it for the weights of a loss: a model called `dice=0.5` would seem to have reached that.
    """
    before, _, last = key.rpartition(".")
    if before.endswith(LOSS_WEIGHTS):
        return f"{LOSS_WEIGHTS}.{last}"
    alike = [other for other in keys if other.rpartition(".")[2] == last]
    return last if len(alike) == 1 and last != "name" else key.removesuffix(".name")


def _text(value: Any) -> str:
    text = json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
    return text if len(text) <= 24 else f"{text[:12]}…{text[-8:]}"
