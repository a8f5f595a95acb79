"""`--workers N --launcher ray`: the lines of a bulk command through the machines of a Ray cluster, by Ray Data.

Ray Data holds the blocks, keeps N actors with a model each, spreads them over the machines, gives the block of an actor
that is lost to another, and hands answers back in order. What becomes of them is `commands/bulk`'s, journal and all.
"""

import json
import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, cast

from regard import errors
from regard.commands.bulk_blocks import Answer, Block, LineTask, answer_block
from regard.commands.launch import threads
from regard.commands.launch_ray import cluster
from regard.errors import MissingDependencyError, RegardError

_Row = dict[str, Any]  # of Ray Data; blocks and answers travel in it as JSON, which keeps bytes that are no UTF-8, too


def require_ray() -> None:
    """Raises MissingDependencyError where a package is not installed that Ray Data needs."""
    missing = [name for name in ("ray", "pandas", "pyarrow") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"Ray Data needs {', '.join(missing)}: pip install 'regard[ray]'")


def answered_on_ray(task: LineTask, blocks: Iterator[Block], workers: int) -> Iterator[tuple[Block, Answer]]:
    """Each block with its answer, in order, from the Ray cluster that RAY_ADDRESS names, or one that is started here.

    All blocks are read first. Each machine needs Regard, and the model under the same path. Raises ConfigError where
    the cluster has too few processors, and what `task` raises.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of how Ray Data itself starts actors
    import ray.data

    rows = [{"block": json.dumps(block)} for block in blocks]
    if not rows:
        return
    with cluster(workers) as (ray, gpus):
        _quieten(ray)
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            cast(Any, RayLines),  # made once an actor, and then called
            fn_constructor_args=(task,),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=gpus,
        )
        try:
            for row in answers.iter_rows():
                if row["failed"]:
                    raise getattr(errors, row["failed"])(row["answer"])
                output, notes, unfinished = json.loads(row["answer"])
                yield Block(*json.loads(row["block"])), Answer(output, tuple(notes), unfinished)
        except ray.exceptions.RayError as error:
            raise RegardError(f"Ray gave up on the lines: {str(error).strip()[-500:]}") from None


def _quieten(ray: Any) -> None:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


class RayLines:
    """In an actor: a `LineTask` with its model, and the answers to its blocks."""

    def __init__(self, task: LineTask) -> None:
        os.environ.update(threads(os.cpu_count() or 1))  # a processor an actor
        self._task, self._loaded = task, None

    def __call__(self, row: _Row) -> _Row:
        """The row, with the answer to its block, or with the class and the words of the error that there was instead:
        what is raised here arrives in Ray's words alone."""
        try:
            if self._loaded is None:
                self._loaded = self._task.load()
            answer = answer_block(self._task, self._loaded, Block(*json.loads(row["block"])))
        except RegardError as error:
            return {**row, "failed": type(error).__name__, "answer": str(error)}
        return {**row, "failed": "", "answer": json.dumps(answer)}
