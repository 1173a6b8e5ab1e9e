"""Runs commands as a user does, and measures their time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_POLL_S = 0.1
_MAX_SHOWN = 2000


@dataclass(frozen=True)
class ProcessResult:
    """Cost and output of a command; `cpu_s` and `peak_bytes` include its child processes.

    `peak_bytes` is of the largest process, `total_peak_bytes` the largest sum over all processes.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int
    total_peak_bytes: int
    out: str


def run_python(
    *arguments: str, folder: Path, status: int = 0, watch_memory: bool = False
) -> ProcessResult:
    """Run this Python with `arguments` in `folder`; see `run_command`."""
    command = [sys.executable, *arguments]
    return run_command(command, folder=folder, statuses=(status,), watch_memory=watch_memory)


def run_command(
    command: Sequence[str],
    *,
    folder: Path,
    statuses: Sequence[int] = (0,),
    watch_memory: bool = False,
    environment: Mapping[str, str] | None = None,
) -> ProcessResult:
    """Run a command in `folder`, with additional variables of the `environment`.

    Raises RuntimeError with the end of its output where it ends with another status.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        watch = _MemoryWatch(process.pid) if watch_memory else None
        _, ended, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(ended)
        total = watch.finish() if watch else 0
        printed, errors = _read(out), _read(err)
    if process.returncode not in statuses:
        expected = " or ".join(map(str, statuses))
        raise RuntimeError(
            f"{' '.join(command)}: expected exit status {expected}, found {process.returncode}:\n"
            f"{(printed + errors)[-_MAX_SHOWN:]}"
        )
    unit = 1 if sys.platform == "darwin" else 1024
    return ProcessResult(
        seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, total, printed
    )


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def status_bytes(name: str, pid: int | str = "self") -> int:
    """A value of /proc/<pid>/status, such as RssAnon, in bytes."""
    for entry in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if entry.startswith(f"{name}:"):
            return int(entry.split()[1]) * 1024
    raise LookupError(f"/proc/{pid}/status has no {name}; this needs Linux 4.5 or newer.")


class _MemoryWatch:
    """Largest resident memory of a process with its children, polled."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._largest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll_memory, daemon=True)
        self._thread.start()

    def finish(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._largest

    def _poll_memory(self) -> None:
        while not self._ended.wait(_POLL_S):
            self._largest = max(self._largest, resident_bytes(self._pid))


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants; 0 where it is gone.

    Pages that they share count once.
    """
    import psutil

    try:
        root = psutil.Process(pid)
        family: Sequence[psutil.Process] = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    own, shared = 0, 0
    for process in family:
        try:
            found = process.memory_full_info()
        except psutil.Error:  # it has ended meanwhile
            continue
        own += found.uss
        shared = max(shared, found.rss - found.uss)
    return own + shared
