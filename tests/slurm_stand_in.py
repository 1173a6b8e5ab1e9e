"""A cluster of one machine: `sbatch`, `srun`, `scontrol` and `sacct` as far as submitit calls them.

`install` writes them into a folder for the PATH; what they do is logged there in files. A job that
is put back into the queue starts again as soon as it has ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "scontrol", "sacct")
ARRAY = "7"


def install(folder: Path) -> None:
    """Write the commands into a folder."""
    folder.mkdir()
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        path.chmod(0o755)


def sbatch(home: Path, arguments: list[str]) -> None:
    script = Path(arguments[-1])
    (home / "script.sh").write_text(script.read_text())
    jobs = re.search(r"#SBATCH --array=0-(\d+)", script.read_text())
    assert jobs is not None
    for number in range(int(jobs[1]) + 1):
        command = [sys.executable, __file__, str(home), "node", str(number)]
        with (home / f"node{number}.log").open("w") as log:
            subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    print(f"Submitted batch job {ARRAY}")


def node(home: Path, arguments: list[str]) -> None:
    """Runs a job of the array, again as long as it is queued again."""
    (number,) = arguments
    job = f"{ARRAY}_{number}"
    names = ("NODEID", "PROCID", "LOCALID")
    environment = {
        **os.environ,
        **{f"SLURM_{name}": "0" for name in names},
        "SLURM_JOB_ID": f"{ARRAY}{number}",
        "SLURM_ARRAY_JOB_ID": ARRAY,
        "SLURM_ARRAY_TASK_ID": number,
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_NODELIST": "localhost",
    }
    queued_again = home / f"requeue_{job}"
    while True:
        subprocess.run(["bash", home / "script.sh"], env=environment, check=False)
        if not queued_again.exists():
            break
        queued_again.rename(home / f"requeued_{job}")


def srun(home: Path, arguments: list[str]) -> None:
    first = next(i for i, argument in enumerate(arguments) if "python" in argument)
    os.execv(arguments[first], arguments[first:])


def scontrol(home: Path, arguments: list[str]) -> None:
    assert arguments[0] == "requeue"
    (home / f"requeue_{arguments[1]}").touch()


def sacct(home: Path, arguments: list[str]) -> None:
    print(f"JobID|State|NodeList\n{ARRAY}_0|RUNNING|localhost\n{ARRAY}_1|RUNNING|localhost")


if __name__ == "__main__":
    globals()[sys.argv[2]](Path(sys.argv[1]), sys.argv[3:])
