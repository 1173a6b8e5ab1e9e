"""`python -m benchmarks.peers.epoch_worker EPOCHS [settings of train.py]`: our side of a training.

Prints the seconds of an image in the last epoch; the first fills caches.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import training


def main(epochs: str, *settings: str) -> None:
    """Train, and print."""
    images = training.build_parts(settings).images
    with tempfile.TemporaryDirectory() as folder:
        times = training.time_epochs(settings, Path(folder), epochs=int(epochs))
    print(times.training / images)


if __name__ == "__main__":
    main(*sys.argv[1:])
