"""The folder that a door writes its results into."""

from __future__ import annotations

from pathlib import Path

from capsule_inspection.types import RunError, RunFiles


def refuse_used(output: Path) -> None:
    """Raise RunError where a folder holds anything but this command's own log, or is a file."""
    if not output.exists():
        return
    if not output.is_dir():
        raise RunError(f"output={output}: expected a new or empty folder, found a file.")
    in_use = [path.name for path in output.iterdir() if path.name != RunFiles.LOG]
    if in_use:
        raise RunError(
            f"output={output}: expected a new or empty folder, found {len(in_use)} files, such as "
            f"{in_use[0]}. Nothing is overwritten: name another folder."
        )
