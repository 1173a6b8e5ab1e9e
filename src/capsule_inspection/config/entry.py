"""Runs an entry point: composes the configuration with Hydra, checks it and calls the action.

User errors end with one message and exit status 1 or 2; HYDRA_FULL_ERROR=1 shows the traceback.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config import checks, environment, existing_run, left_overs, stored, sweeps
from capsule_inspection.config.help import help_text
from capsule_inspection.config.library_names import check_library_names
from capsule_inspection.config.messages import CONFIGURATION_EXCEPTIONS, explain
from capsule_inspection.config.mistakes import check_arguments, shows_settings
from capsule_inspection.config.named_runs import resolve_runs
from capsule_inspection.config.paths import (
    check_utf8,
    choose_data,
    expand_homes,
    name_given_threshold,
    path_argument,
    quote_arguments,
)
from capsule_inspection.config.quoting import PROGRAM, decode_keys
from capsule_inspection.config.resolvers import register_resolvers
from capsule_inspection.config.schema import register_schemas
from capsule_inspection.config.terminal import printable
from capsule_inspection.config.training_checks import check_unused
from capsule_inspection.config.values import read_numbers
from capsule_inspection.files import is_disk_full, is_out_of_memory
from capsule_inspection.types import ConfigurationError, InspectionError, RunError, RunFiles

INTERRUPTED_STATUS = 130
_LOST_WORKER_ERRORS = ("BrokenExecutor", "UncompletedJobError", "RayError")
"""Base classes in concurrent.futures (of joblib's too), submitit and ray."""
_LOST_WORKER = (
    "The sweep stopped, since a process of its jobs was killed from outside, such as by the system "
    "where memory is short (then run fewer jobs at a time)."
)

Action = Callable[[DictConfig], object]
AfterSweep = Callable[[Path], object]
OnError = Callable[[BaseException, str, int], object]
"""Is given an error of the user or the system, the message and the exit status of the command."""


@contextmanager
def _quiet_on_full_disk() -> Iterator[None]:
    """No tracebacks of log files and of threads that write: the error is reported once, below."""

    def report_thread(thrown: threading.ExceptHookArgs) -> None:
        if not is_disk_full(thrown.exc_value):
            before[1](thrown)

    before = logging.raiseExceptions, threading.excepthook
    logging.raiseExceptions, threading.excepthook = False, report_thread
    try:
        yield
    finally:
        logging.raiseExceptions, threading.excepthook = before


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that it stops its processes and tidies up."""
    is_main = threading.current_thread() is threading.main_thread()
    is_handled = not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    if not is_handled:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if not is_handled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@_quiet_on_full_disk()
@_terminate_as_interrupt()
def run(
    action: Action,
    *,
    config_folder: Path,
    name: str,
    after_sweep: AfterSweep | None = None,
    on_error: OnError | None = None,
) -> int:
    """Call `action` with configuration `name` and the command line; returns the exit status.

    After the last job of a sweep, `after_sweep` is called with the sweep folder, also if jobs have
    failed. `on_error` is called before an error is printed.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(config_folder, name, sys.argv[1:]))  # noqa: T201
        return 0
    if "--version" in sys.argv[1:]:
        print(PROGRAM, metadata.version(PROGRAM))  # noqa: T201
        return 0
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises exceptions instead of printing them
    register_schemas()
    register_resolvers()
    sweeps.reset()
    left_overs.reset()
    arguments = sys.argv
    try:
        sys.argv = [arguments[0], *_read_arguments(arguments[1:], name, config_folder)]
        job = Job(action)
        path = str(config_folder.resolve())
        hydra.main(version_base="1.3", config_path=path, config_name=name)(job)()
        if job.error is not None:
            raise job.error
        return _finish_sweep(after_sweep)
    except (Exception, KeyboardInterrupt) as error:
        if type(error) is ValueError and sweeps.has_only_failures():  # Optuna: no finished trial
            return _finish_sweep(after_sweep)
        if _has_lost_worker(error) and sweeps.current_sweep() is not None:
            return _finish_sweep(after_sweep, stopped=_LOST_WORKER)
        message, status = _explain(error, config_folder, name)
        if not message:
            raise
        left_overs.remove()
        if on_error is not None:
            on_error(error, message, status)
        return _report(message, status, show_traceback=show_traceback)
    except SystemExit as stop:  # argparse
        left_overs.remove()
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = arguments
        os.environ["HYDRA_FULL_ERROR"] = "1" if show_traceback else "0"


def _read_arguments(arguments: list[str], name: str, config_folder: Path) -> list[str]:
    """The command line as Hydra reads it; prints what is chosen for the user."""
    check_arguments(arguments, name, config_folder)
    arguments, chosen = resolve_runs(arguments, name)
    quoted = quote_arguments(arguments)
    given = quoted if name == "train" else name_given_threshold(quoted)
    checks.check_additions(given)
    if name == "train" and (data := choose_data(given, config_folder)) is not None:
        key = "data.path" if data == "manifest" else "data.root"
        chosen.append(f"data={data}, since {key} is given and data= is not.")
        given = [f"data={data}", *given]
    for line in chosen:
        print(printable(line), file=sys.stderr if shows_settings(given) else sys.stdout)
    return _hydra_arguments(read_numbers(given))


def _hydra_arguments(arguments: list[str]) -> list[str]:
    """Checks `run=` and `resume=` before Hydra creates folders; -m first, as argparse needs it."""
    settings = [argument for argument in arguments if not argument.startswith("-")]
    rest = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    if len(rest) < len(arguments):
        if any(setting.lower() == "inspect=true" for setting in settings):
            raise ConfigurationError("inspect=true: inspects one data set; leave out -m.")
        if any(setting.startswith("resume=") for setting in settings):
            options = [argument for argument in rest if argument.startswith("-")]
            return ["-m", *options, *sweeps.arguments_to_resume(settings)]
        sweeps.record_arguments(settings)
        return ["-m", *rest]
    existing_run.check_run(settings)
    for key in ("output", "hydra.run.dir"):
        if folder := path_argument(settings, key):
            existing_run.check_logs(folder.glob("*.log"))
    sweeps.record_arguments(settings)  # an experiment may be a sweep without -m
    return rest + existing_run.resume_arguments(settings)


class Job:
    """The task function that Hydra calls; picklable, since launchers send it to other processes.

    The exception of a single run is kept in `error`, because Hydra would print a line of its own.
    Exceptions of a sweep's job are recorded in its folder, so that the other jobs run.
    """

    def __init__(self, action: Action) -> None:
        self.action = action
        self.error: Exception | None = None

    @_quiet_on_full_disk()  # a job may be in a process of its own
    def __call__(self, config: DictConfig) -> object:
        settings = HydraConfig.get()
        overrides: list[str] = OmegaConf.to_container(settings.overrides.task, resolve=False)  # type: ignore[assignment]
        if settings.mode == RunMode.MULTIRUN:
            return self._run_in_sweep(config, Path(settings.runtime.output_dir), overrides)
        try:
            return self.action(_checked(config, overrides))
        except Exception as error:
            _log_error(error, " ".join(overrides))
            self.error = error
            return None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "sweep_state": sweeps.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Called in another process, before it composes its configuration."""
        sweeps.restore(state.pop("sweep_state"))
        self.__dict__.update(state)
        register_schemas()
        register_resolvers()

    def _run_in_sweep(self, config: DictConfig, folder: Path, overrides: list[str]) -> object:
        job, before = sweeps.current_job(folder), sweeps.read_job(folder)
        if before is not None and before.status == sweeps.FINISHED:
            sweeps.mend_job(folder, replace(job, status=before.status, value=before.value))
            print(f"{folder.name}: finished before, kept.")  # noqa: T201 - its log stays closed
            return before.value
        try:
            is_resumed = sweeps.can_resume(folder)
        except RunError as error:
            _report(str(error), error.exit_status)
            return None
        if before is not None and not is_resumed:
            sweeps.archive_attempt(folder)
        sweeps.write_job(folder, job)
        try:
            if is_resumed:
                checked = existing_run.load_stored(folder / RunFiles.CONFIG)
                checked.resume, checked.logger = str(folder), config.logger
            else:
                checked = _checked(config, overrides)
                if sweeps.is_from_folder():
                    stored.use_own_folders(checked.data)
            checks.check_single_process(checked)
            value = self.action(checked)
            value = float(value) if isinstance(value, int | float) else None
            job = replace(job, status=sweeps.FINISHED, value=value)
        except Exception as error:  # also listed at the end of the sweep
            _log_error(error, folder.name)
            _report(f"{folder.name}: {error}", 1)
            job = replace(job, status=sweeps.FAILED, error=str(error))
        except BaseException:
            job = replace(job, status=sweeps.INTERRUPTED)
            raise
        finally:
            sweeps.write_job(folder, job)
            gc.collect()  # frees the model and its data before the next job
        return job.value


def _checked(config: DictConfig, overrides: list[str]) -> DictConfig:
    check_utf8(HydraConfig.get().runtime.output_dir)
    decode_keys(config)
    expand_homes(config)
    checks.check_additions(overrides)
    if config.get("resume"):
        config = existing_run.resumed_config(config, overrides)
    checks.check(config)
    if "task" in config:  # a training
        check_unused(config, overrides)
    checks.check_data_paths(config)
    if not config.get("resume"):
        check_library_names(config)
    environment.check_torch_versions()
    return config


def _log_error(error: Exception, what: str) -> None:
    """Write the traceback to the run's train.log, if there is space on the disk."""
    record = logging.LogRecord(
        __name__, logging.ERROR, __file__, 0, "failed: %s", (what,),
        (type(error), error, error.__traceback__),
    )  # fmt: skip
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(record)


def _has_lost_worker(error: BaseException) -> bool:
    """Whether a launcher reports that a process or a machine of its jobs is gone."""
    return any(kind.__name__ in _LOST_WORKER_ERRORS for kind in type(error).__mro__)


def _finish_sweep(after_sweep: AfterSweep | None, *, stopped: str = "") -> int:
    """Report a sweep after its jobs; returns the exit status, 0 if there is no sweep."""
    folder = sweeps.current_sweep()
    if folder is None:
        return 0
    status = 0
    try:
        if after_sweep is not None:
            after_sweep(folder)
    except InspectionError as error:
        status = _report(str(error), error.exit_status)
    except OSError as error:
        again = sweeps.resume_command(folder)
        status = _report(f"the comparison cannot be written ({error}). Mend that, then: {again}", 1)
    finally:
        best = sweeps.best_trial_command(folder)
        if best:
            print(printable(best))  # noqa: T201
        failures = sweeps.print_failures(folder, stopped=stopped)
    return 1 if failures or stopped else status


def _explain(error: BaseException, config_folder: Path, name: str) -> tuple[str, int]:
    """Message and exit status for an error of the user or the system; no message for others."""
    if isinstance(error, InspectionError):
        return str(error), error.exit_status
    if isinstance(error, CONFIGURATION_EXCEPTIONS):
        composed = compose_choices(config_folder, name)
        return explain(error, composed=composed, command=name), 2
    if isinstance(error, KeyboardInterrupt):
        return f"Interrupted.{_how_to_resume()}", INTERRUPTED_STATUS
    if isinstance(error, ImportError) and str(error).startswith("Error loading '"):  # of Hydra
        return f"hydra: a plugin cannot be used ({' '.join(str(error).split())})", 2
    if is_out_of_memory(error):
        return (
            f"out of memory ({str(error).splitlines()[0]}). Use a smaller task.batch_size, "
            "task.image_size or network, or a machine with more.",
            1,
        )
    if is_disk_full(error):
        again = f"Free some space, then start again.{_how_to_resume()}"
        return f"the disk is full ({error}). {again}", 1
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. Check the path and its permissions.", 1
    return "", 1


def _how_to_resume() -> str:
    """A sentence with the command that resumes this process's sweep, if it has started one."""
    folder = sweeps.current_sweep()
    has_jobs = folder is not None and bool(sweeps.read_jobs(folder))
    return f" To resume the sweep: {sweeps.resume_command(folder)}" if folder and has_jobs else ""


def _report(message: str, status: int, *, show_traceback: bool = False) -> int:
    if show_traceback:
        traceback.print_exc()
    print(f"error: {printable(message)}", file=sys.stderr)  # noqa: T201
    return status


def compose_choices(
    config_folder: Path, name: str, *, with_hydra: bool = False
) -> DictConfig | None:
    """The configuration with the user's choices of groups, but without the user's values."""
    groups = {path.name for path in config_folder.iterdir() if path.is_dir()}
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    choices = [
        f"{key}={value}"
        for key, _, value in pairs
        if key in groups and ("," not in value or value.startswith("["))
    ]
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_folder.resolve()), version_base="1.3"):
            return hydra.compose(name, overrides=choices, return_hydra_config=with_hydra)
    except CONFIGURATION_EXCEPTIONS:
        return None
    finally:
        GlobalHydra.instance().clear()
