"""What every door does: compose the configuration with Hydra, check it, then call its action.

User errors end with one message and exit status 1 or 2; HYDRA_FULL_ERROR=1 shows the traceback.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from capsule_inspection.config import checks, environment, resume, sweeps
from capsule_inspection.config.existing_run import require_run
from capsule_inspection.config.help import help_text, wants_help
from capsule_inspection.config.messages import CONFIGURATION_EXCEPTIONS, explain
from capsule_inspection.config.paths import quote_path_arguments
from capsule_inspection.config.resolvers import register_resolvers
from capsule_inspection.config.schema import register_schemas
from capsule_inspection.files import is_disk_full
from capsule_inspection.types import InspectionError, RunError, RunFiles

INTERRUPTED_STATUS = 130
MULTIRUN = ("-m", "--multirun")


AfterSweep = Callable[[Path], object]


def open_door(
    action: Callable[[DictConfig], object],
    *,
    config_folder: Path,
    name: str,
    after_sweep: AfterSweep | None = None,
) -> None:
    """Run `action` with the configuration `name` of `config_folder` and the command line.

    After the last job of a sweep, `after_sweep` is called with the sweep's folder, also where jobs
    have failed. Does not return: ends the process with 0, or with the exit status of the error.
    """
    status = run_door(action, config_folder=config_folder, name=name, after_sweep=after_sweep)
    sys.exit(status)


def run_door(
    action: Callable[[DictConfig], object],
    *,
    config_folder: Path,
    name: str,
    after_sweep: AfterSweep | None = None,
) -> int:
    """As `open_door`, but returns the exit status."""
    if wants_help(sys.argv[1:]):
        print(help_text(config_folder, name))  # noqa: T201
        return 0
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets exceptions through to us
    register_schemas()
    register_resolvers()
    arguments = sys.argv
    sweeps.forget_sweep()
    try:
        sys.argv = [arguments[0], *_prepare(quote_path_arguments(arguments[1:]))]
        job = Job(action)
        hydra.main(version_base="1.3", config_path=str(config_folder.resolve()), config_name=name)(
            job
        )()
        job.raise_failure()
        return _end_sweep(after_sweep)
    except InspectionError as error:
        return _report(str(error), error.exit_status, show=show_traceback)
    except CONFIGURATION_EXCEPTIONS as error:
        composed = _compose_without_values(config_folder, name)
        return _report(explain(error, composed=composed), 2, show=show_traceback)
    except ValueError:  # a search of which no trial was finished
        if not sweeps.nothing_finished():
            raise
        return _end_sweep(after_sweep)
    except Exception as error:
        told = _refusal_of_system(error)
        if told is None:
            raise
        return _report(told, 1, show=show_traceback)
    except KeyboardInterrupt:
        return _report(_interrupted(), INTERRUPTED_STATUS, show=show_traceback)
    except SystemExit as stop:  # argparse, --help
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = arguments
        os.environ["HYDRA_FULL_ERROR"] = "1" if show_traceback else "0"


def _refusal_of_system(error: Exception) -> str | None:
    """What the operating system has refused; None for any other error."""
    if is_disk_full(error):
        return f"the disk is full ({error}). Make room, then start again."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. Check the path and its rights."
    return None


def _end_sweep(after_sweep: AfterSweep | None) -> int:
    """What comes after the jobs of a sweep: its report, and the list of what failed."""
    folder = sweeps.begun_sweep()
    if folder is None:
        return 0
    status = 0
    try:
        if after_sweep is not None:
            after_sweep(folder)
    except InspectionError as error:
        status = _report(str(error), error.exit_status, show=False)
    finally:
        best = sweeps.best_trial_command(folder)
        if best:
            print(best)  # noqa: T201
        failed = sweeps.tell_failures(folder)
    return 1 if failed else status


def _interrupted() -> str:
    folder = sweeps.begun_sweep()
    if folder is None:
        return "Interrupted."
    return f"Interrupted. To go on with the sweep: {sweeps.how_to_go_on(folder)}"


def _prepare(arguments: list[str]) -> list[str]:
    """The arguments as Hydra takes them: -m first, which argparse does not find among values."""
    values = [argument for argument in arguments if not argument.startswith("-")]
    rest = [argument for argument in arguments if argument not in MULTIRUN]
    if len(rest) < len(arguments):
        if any(value.startswith("resume=") for value in values):
            options = [argument for argument in rest if argument.startswith("-")]
            return ["-m", *options, *sweeps.arguments_to_resume(values)]
        sweeps.note_arguments(values)
        return ["-m", *rest]
    require_run(values)
    sweeps.note_arguments(values)  # an experiment may be a sweep by itself
    return rest + resume.extra_arguments(values)


class Job:
    """The task function that Hydra calls; picklable, since launchers send it to other processes.

    Of a single run it keeps the exception, for which Hydra would print a line of its own. In a
    sweep no exception leaves it, so that the other jobs run: what became of the job stands in its
    folder.
    """

    def __init__(self, action: Callable[[DictConfig], object]) -> None:
        self.action = action
        self.failure: Exception | None = None

    def __call__(self, config: DictConfig) -> object:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            return self._in_sweep(config)
        overrides = list(HydraConfig.get().overrides.task)
        try:
            return self.action(_checked(config, overrides))
        except Exception as failure:  # raised again by raise_failure
            _log_failure(failure, " ".join(overrides))
            self.failure = failure
            return None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "notes": sweeps.notes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process, before its configuration is composed."""
        sweeps.take_over(state.pop("notes"))
        self.__dict__.update(state)
        register_schemas()
        register_resolvers()

    def raise_failure(self) -> None:
        """Raise what a single run ended with."""
        if self.failure is not None:
            raise self.failure

    def _in_sweep(self, config: DictConfig) -> object:
        folder = Path(HydraConfig.get().runtime.output_dir)
        before = sweeps.job_in(folder)
        if before is not None and before.status == sweeps.FINISHED:
            print(f"{folder.name}: finished already, kept.")  # noqa: T201 - its log stays closed
            return before.value
        try:
            goes_on = sweeps.can_go_on(folder)
        except RunError as busy:
            print(f"error: {busy}", file=sys.stderr)  # noqa: T201
            return None
        if before is not None and not goes_on:
            sweeps.move_aside(folder)
        record = sweeps.begin_job(folder)
        try:
            checked = _to_go_on(folder) if goes_on else _checked(config, record.overrides)
            checks.refuse_many_processes(checked)
            value = self.action(checked)
            record = replace(record, status=sweeps.FINISHED, value=_as_number(value))
        except Exception as failure:  # told at the end of the sweep
            _log_failure(failure, folder.name)
            print(f"error: {folder.name}: {failure}", file=sys.stderr)  # noqa: T201
            record = replace(record, status=sweeps.FAILED, error=str(failure))
        except BaseException:
            record = replace(record, status=sweeps.INTERRUPTED)
            raise
        finally:
            sweeps.end_job(folder, record)
            gc.collect()  # the network and its data go before the next job comes
        return record.value


def _as_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _to_go_on(folder: Path) -> DictConfig:
    """The configuration of a job that was cut short."""
    config = resume.load_stored(folder / RunFiles.CONFIG)
    config.resume = str(folder)
    return config


def _log_failure(failure: Exception, what: str) -> None:
    """The traceback goes into the job's own train.log, where there is room for it."""
    record = logging.LogRecord(
        __name__, logging.ERROR, __file__, 0, "failed: %s", (what,),
        (type(failure), failure, failure.__traceback__),
    )  # fmt: skip
    tells, logging.raiseExceptions = logging.raiseExceptions, not is_disk_full(failure)
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(record)
    logging.raiseExceptions = tells


def _checked(config: DictConfig, overrides: list[str]) -> DictConfig:
    checks.refuse_additions(overrides)
    if config.get("resume"):
        config = resume.stored_configuration(config, overrides)
    checks.check(config)
    environment.check_torch_pair()
    return config


def _report(message: str, status: int, *, show: bool) -> int:
    if show:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - the door's own voice
    return status


def _compose_without_values(config_folder: Path, name: str) -> DictConfig | None:
    """The configuration of the choices that the user made, without the values."""
    groups = {path.name for path in config_folder.iterdir() if path.is_dir()}
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    choices = [f"{key}={value}" for key, _, value in pairs if key in groups and "," not in value]
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_folder.resolve()), version_base="1.3"):
            return hydra.compose(name, overrides=choices)
    except CONFIGURATION_EXCEPTIONS:
        return None
    finally:
        GlobalHydra.instance().clear()
