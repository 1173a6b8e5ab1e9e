"""What every door does: compose the configuration with Hydra, check it, then call its action.

User errors end with one message and exit status 1 or 2; HYDRA_FULL_ERROR=1 shows the traceback.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from capsule_inspection.configuration import checks, environment, resume
from capsule_inspection.configuration.existing_run import require_run
from capsule_inspection.configuration.help import help_text, wants_help
from capsule_inspection.configuration.messages import CONFIGURATION_EXCEPTIONS, explain
from capsule_inspection.configuration.paths import quote_path_arguments
from capsule_inspection.configuration.resolvers import note_swept_keys, register_resolvers
from capsule_inspection.configuration.schema import register_schemas
from capsule_inspection.contracts import InspectionError, RunError

INTERRUPTED_STATUS = 130
MULTIRUN = ("-m", "--multirun")


def open_door(action: Callable[[DictConfig], object], *, config_folder: Path, name: str) -> None:
    """Run `action` with the configuration `name` of `config_folder` and the command line.

    Does not return: ends the process with 0, or with the exit status of the error.
    """
    sys.exit(run_door(action, config_folder=config_folder, name=name))


def run_door(action: Callable[[DictConfig], object], *, config_folder: Path, name: str) -> int:
    """As `open_door`, but returns the exit status."""
    if wants_help(sys.argv[1:]):
        print(help_text(config_folder, name))  # noqa: T201
        return 0
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets exceptions through to us
    register_schemas()
    register_resolvers()
    arguments = sys.argv
    try:
        sys.argv = [arguments[0], *_prepare(quote_path_arguments(arguments[1:]))]
        job = Job(action)
        hydra.main(version_base="1.3", config_path=str(config_folder.resolve()), config_name=name)(
            job
        )()
        job.raise_failure()
    except InspectionError as error:
        return _report(str(error), error.exit_status, show=show_traceback)
    except CONFIGURATION_EXCEPTIONS as error:
        composed = _compose_without_values(config_folder, name)
        return _report(explain(error, composed=composed), 2, show=show_traceback)
    except KeyboardInterrupt:
        return _report("Interrupted.", INTERRUPTED_STATUS, show=show_traceback)
    except SystemExit as stop:  # argparse, --help
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = arguments
        os.environ["HYDRA_FULL_ERROR"] = "1" if show_traceback else "0"
    return 0


def _prepare(arguments: list[str]) -> list[str]:
    """The arguments as Hydra takes them: -m first, which argparse does not find among values."""
    values = [argument for argument in arguments if not argument.startswith("-")]
    rest = [argument for argument in arguments if argument not in MULTIRUN]
    if len(rest) < len(arguments):
        note_swept_keys(values)
        return ["-m", *rest, *resume.extra_arguments(values)]
    require_run(values)
    return rest + resume.extra_arguments(values)


class Job:
    """The task function that Hydra calls; keeps an exception so that other jobs of a sweep run.

    Hydra would print a line of its own for it, and end the sweep.
    """

    def __init__(self, action: Callable[[DictConfig], object]) -> None:
        self.action = action
        self.failures: list[tuple[str, Exception]] = []

    def __call__(self, config: DictConfig) -> object:
        overrides = list(HydraConfig.get().overrides.task)
        try:
            return self.action(_checked(config, overrides))
        except Exception as failure:  # raised again by raise_failure
            _log_failure(failure, " ".join(overrides))
            self.failures.append((" ".join(overrides), failure))
            return None

    def raise_failure(self) -> None:
        """Raise the first failure; of several, one that lists them all."""
        if len(self.failures) == 1:
            raise self.failures[0][1]
        if self.failures:
            lines = [f"  {overrides}: {failure}" for overrides, failure in self.failures]
            raise RunError("\n".join([f"{len(lines)} jobs of the sweep failed:", *lines]))


def _log_failure(failure: Exception, overrides: str) -> None:
    """The traceback goes into the job's own train.log; in a sweep the terminal hears of it too."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        print(f"error: job {overrides}: {failure}", file=sys.stderr)  # noqa: T201
    record = logging.LogRecord(
        __name__, logging.ERROR, __file__, 0, "failed: %s", (overrides,),
        (type(failure), failure, failure.__traceback__),
    )  # fmt: skip
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(record)


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
