"""Commands in copies of one process that has imported everything, and what happens at each write.

Importing torch takes seconds, a small training one: the process forks for each command. A file
operation is a call that opens a file for writing, renames, removes, makes a folder or flushes;
Python reports them to audit hooks, all but the last. Linux only.
"""

from __future__ import annotations

import atexit
import importlib
import itertools
import multiprocessing
import os
import pkgutil
import runpy
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.sizes import REPOSITORY

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads do not survive a fork

AtOperation = Callable[[int], None]
"""Called in the child right before each file operation, with its number from 0."""
_WRITING = os.O_WRONLY | os.O_RDWR
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
_LATE_IMPORTS = (
    "matplotlib.pyplot",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "rich.progress",
    "scipy.optimize",
    "segmentation_models_pytorch",
    "sklearn.ensemble",
    "statsmodels.stats.multitest",
    "torch._dynamo",
    "torch.onnx",
    "torch.utils.tensorboard",
)


def import_all(*, plots: bool = True) -> None:
    """Import the product and what its functions import late; without `plots`, they are blank."""
    import matplotlib.figure
    import torch

    import capsule_inspection

    if not plots:  # they take most of the time of a small training
        matplotlib.figure.Figure.draw = lambda *_: None  # type: ignore[method-assign]

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(capsule_inspection.__path__, "capsule_inspection."):
        importlib.import_module(module.name)
    for name in _LATE_IMPORTS:
        importlib.import_module(name)


def start(
    arguments: Sequence[str], *, folder: Path, log: Path, at_operation: AtOperation | None = None
) -> BaseProcess:
    """Start `python <arguments>` in `folder`, in a session of its own; its output goes to `log`."""
    given = (list(arguments), folder, log, at_operation)
    process = multiprocessing.get_context("fork").Process(target=_run, args=given)
    process.start()
    return process


def run_to_end(arguments: Sequence[str], *, folder: Path) -> None:
    """Run a command. Raises RuntimeError, with its output, where it fails."""
    with tempfile.NamedTemporaryFile() as log:
        process = start(arguments, folder=folder, log=Path(log.name))
        process.join()
        if process.exitcode != 0:
            printed = Path(log.name).read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{' '.join(arguments)}: {printed}")


def kill_group(process: BaseProcess) -> int:
    """SIGKILL for a process and all that it has started; returns its exit status."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # ended, or has no session of its own yet
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(arguments: list[str], folder: Path, log: Path, at_operation: AtOperation | None) -> None:
    os.setsid()
    os.chdir(folder)
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = arguments
    if at_operation is not None:
        _watch_operations(at_operation, folder)
    status: object = 0
    try:
        runpy.run_path(str(REPOSITORY / arguments[0]), run_name="__main__")
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    threading._shutdown()  # type: ignore[attr-defined] # as at the end of Python
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(int(bool(status)))


def _watch_operations(at_operation: AtOperation, folder: Path) -> None:
    numbers = itertools.count()
    fsync = os.fsync

    def audit(event: str, given: tuple[Any, ...]) -> None:
        is_write = event in _CHANGES or (event == "open" and given[2] & _WRITING)
        if is_write and not isinstance(given[0], int):
            path = Path(os.fsdecode(given[0]))
            if path.is_absolute() is False or path.is_relative_to(folder):
                at_operation(next(numbers))

    def flush(handle: int) -> None:
        at_operation(next(numbers))
        fsync(handle)

    sys.addaudithook(audit)
    os.fsync = flush
