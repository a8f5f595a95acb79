"""`regard find-batch`: the largest batch that the memory bears, before a run is trained."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from regard.commands.engine import import_tensorflow
from regard.commands.train import resolve_run
from regard.errors import InputError

_GB = 1e9


def find_run_batch(
    run: Path,
    output: Path | None,
    overrides: Sequence[str],
    *,
    memory: float | None,
    largest: int | None,
    as_json: bool,
) -> None:
    """Search, print memory and speed by size, and the size suggested. memory: GB (1e9 bytes)."""
    if memory is not None and not (memory > 0 and math.isfinite(memory)):
        raise InputError(f"--memory must be above 0 GB, but is {memory:g}")
    if largest is not None and largest < 1:
        raise InputError(f"--to must be at least 1, but is {largest}")
    config, directory = resolve_run(run, output, overrides)
    import_tensorflow()
    from regard.training.batch_finder import find_batch
    from regard.training.streams import share_cores
    from regard.training.trainer import streams_to_be

    share_cores(streams_to_be(config, directory))  # as `regard train` does

    bound = None if memory is None else int(memory * _GB)
    found = find_batch(config, directory, memory=bound, largest=largest, console=Console(stderr=True))
    if as_json:
        print(json.dumps({**found._asdict(), "trials": [trial._asdict() for trial in found.trials]}))
        return
    unit = found.key.removeprefix("batch_")
    print(f"{found.key:>12}  memory     step  {unit:>8}/s")
    for trial in found.trials:
        print(f"{trial.size:12,}  {trial.peak / _GB:3.2f} GB  {trial.seconds:5.2f} s  {trial.per_second:8,.0f}")
    print(found.ended)
    if found.suggested is None:
        small = f"not even {found.trials[0].size:,} fits {found.memory / _GB:.2f} GB"
        print(f"{small}: take a smaller model, or training.remat = true")
    else:
        print(
            f"at most {found.suggested:,} fit {found.memory / _GB:.2f} GB: set training.{found.key} = {found.suggested}"
        )
