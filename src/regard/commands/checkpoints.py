"""What `regard inspect` says of a run's checkpoints; every file is held against the hash in its manifest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from regard.errors import CheckpointError
from regard.interop.directory import read_json
from regard.training.checkpoint import STATE, CheckpointStore, verify


class Listed(NamedTuple):
    """One directory under RUN/checkpoints."""

    name: str
    size: int  # bytes
    score: Mapping[str, float | None]  # of its validation; empty where there was none
    kept: tuple[str, ...]  # why: last, best, steady, newest
    best: bool  # the best of all
    complaint: str | None  # None: its files are what its manifest says
    damaged: bool  # and no training has seen it yet: it is neither set aside nor one that was never whole


def list_checkpoints(run: Path) -> list[Listed]:
    """Every checkpoint of a run directory, oldest first: also those that are damaged, set aside, or not whole. One that
    a training removes meanwhile is left out."""
    store = CheckpointStore(run / "checkpoints")
    complete = {path.name for path in store.complete()}
    found = {path: _complaint(path, path.name in complete) for path in sorted(store.directory.glob("step-*"))}
    states = {path: read_json(path, STATE) for path, complaint in found.items() if complaint is None}
    newest = states[max(states)] if states else {}
    kept, best_step = newest.get("kept", {}), newest.get("state", {}).get("best_step")
    listed = (
        _listed(path, states.get(path, {}), kept, best_step, complaint, path.name in complete)
        for path, complaint in found.items()
    )
    return [each for each in listed if each is not None]


def print_checkpoints(console: Console, run: Path) -> list[Listed]:
    """A table of `list_checkpoints`; nothing where `run` has none."""
    found = list_checkpoints(run)
    if not found:
        return []
    scores = list(dict.fromkeys(name for each in found for name, value in each.score.items() if value is not None))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("checkpoint", no_wrap=True)
    for name in (*scores, "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept as")
    table.add_column("files")
    for each in found:
        kept = ["the best" if each.best and why == "best" else why for why in each.kept]
        values = ["" if each.score.get(name) is None else f"{each.score[name]:.4g}" for name in scores]
        table.add_row(each.name, *values, f"{each.size / 1e6:,.2f}", ", ".join(kept), each.complaint or "hashes hold")
    console.print("\n[bold]checkpoints[/bold]")
    console.print(table)
    return found


def refuse_damaged(run: Path, found: Sequence[Listed]) -> None:
    """Raise CheckpointError, so that a script hears of it, where a checkpoint is damaged."""
    damaged = [each.name for each in found if each.damaged]
    if damaged:
        raise CheckpointError(
            f"{len(damaged)} of the {len(found)} checkpoints of {run} "
            f"{'is' if len(damaged) == 1 else 'are'} damaged ({', '.join(damaged)}): `regard train` sets such aside "
            "and goes on from one that is whole"
        )


def _listed(
    path: Path,
    values: Mapping[str, Any],
    kept: Mapping[str, list[str]],
    best_step: int | None,
    complaint: str | None,
    whole: bool,
) -> Listed | None:
    try:
        size = sum(file.stat().st_size for file in path.iterdir())
    except FileNotFoundError:
        return None
    state = values.get("state", {})
    step = state.get("step")
    validated = step is not None and state.get("validated_step") == step
    return Listed(
        path.name,
        size,
        (state.get("score") or {}) if validated else {},
        tuple(kept.get(str(step), ())),
        step is not None and step == best_step,
        complaint,
        complaint is not None and whole,
    )


def _complaint(path: Path, complete: bool) -> str | None:
    if path.suffix:
        return "set aside: damaged" if path.suffix == ".damaged" else "not whole: written when the process ended"
    if not complete:
        return "not whole: it has no manifest"
    try:
        verify(path)
    except CheckpointError as error:
        return str(error).removeprefix(f"{path}/").removeprefix(f"{path} ")
    return None
