"""Visual inspection with few images, on PyTorch Lightning and Hydra.

The names of the Python API are imported when they are first used: `import capsule_inspection` alone
imports neither torch nor Hydra. See docs/python_api.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capsule_inspection.api.model import Model, load_model
    from capsule_inspection.api.prediction import Prediction
    from capsule_inspection.api.runs import (
        ComparedRuns,
        EvaluatedRun,
        TrainedRun,
        compare,
        evaluate,
        train,
    )
    from capsule_inspection.types import InspectionError

__all__ = [
    "ComparedRuns",
    "EvaluatedRun",
    "InspectionError",
    "Model",
    "Prediction",
    "TrainedRun",
    "compare",
    "evaluate",
    "load_model",
    "train",
]
_MODULES = {
    "InspectionError": "types",
    "Model": "api.model",
    "Prediction": "api.prediction",
    "load_model": "api.model",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'api.runs')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
