"""Whole runs on two logical CPUs: a process has its devices for good.

    python tests/training/mirrored_runs.py '[["RUN.toml", "DIRECTORY", [5]], ...]'

Each is trained in its directory to its end; first it is stopped where `stop` is asked so often, once for each number.
"""

import io
import itertools
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from rich.console import Console

from regard.config import load_run
from regard.errors import TrainingInterrupted
from regard.training.trainer import train


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    for file, directory, stops in json.loads(sys.argv[1]):
        run, said = load_run(Path(file)), Console(file=io.StringIO())
        for number in stops:
            asked = itertools.count(1)
            try:
                train(run, directory, stop=lambda asked=asked, number=number: next(asked) >= number, console=said)
            except TrainingInterrupted:
                continue
            raise SystemExit(f"{directory} was not stopped")
        train(run, directory, console=said)
        print(said.file.getvalue())


if __name__ == "__main__":
    main()
