"""The tasks, a folder each with the same files, which are found by name.

The modules beside the folders hold the base classes of these files. A prediction by an exported
file needs a task's post-processor only, which does not import torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from capsule_inspection.types import RunError


def names() -> list[str]:
    """Names of all tasks: the folders of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def load_module(task: str, module: str, *, where: str) -> ModuleType:
    """One of the files of a task. Raises RunError, naming `where`, for an unknown task."""
    if task not in names():
        raise RunError(
            f"{where}: expected a task of {', '.join(names())}, found {task!r}. Install the "
            "version that made it."
        )
    return importlib.import_module(f"{__name__}.{task}.{module}")
