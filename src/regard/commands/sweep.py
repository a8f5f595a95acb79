"""`regard sweep`: a run file at every combination of some values, a run directory each, and a table of their scores."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from rich.table import Table

from regard.commands.text import table_console
from regard.config import RunConfig, load_run, to_toml
from regard.config.tasks import batch_key
from regard.errors import ConfigError, TrainingInterrupted
from regard.explain.comparison import LOWER_IS_BETTER, best_of
from regard.explain.curves import Curves

_START = (
    "import sys; from regard.cli import main; from regard.commands.launch import stop_with_parent; "
    "stop_with_parent(int(sys.argv[1])); sys.exit(main(sys.argv[2:]))"
)
_FORWARDED = (signal.SIGINT, signal.SIGTERM)
_LONGEST_NAME = 200  # bytes; a file system takes 255


class Combination(NamedTuple):
    """One run of a sweep."""

    values: dict[str, str]  # of the keys that are swept, as they were written
    overrides: tuple[str, ...]  # all of them
    directory: Path
    run: RunConfig


class Outcome(NamedTuple):
    """What a combination came to."""

    values: dict[str, str]
    directory: str
    state: str  # "done" or "failed"
    score: float | None  # the best on validation
    step: float | None  # of that score
    last_step: int | None


def sweep_runs(run_file: Path, output: Path | None, overrides: Sequence[str], *, as_json: bool) -> int:
    """Train every combination that is not done, then print the table, best first; 1 if one failed, else 0.

    A run that fails is said and passed over. Raises ConfigError before anything is trained where a combination is no
    run, TrainingInterrupted where a run was stopped: the same command goes on.
    """
    combinations = combine(run_file, output or Path("runs") / f"{run_file.stem}-sweep", overrides)
    for number, each in enumerate(combinations, 1):
        if is_done(each):
            continue
        print(f"run {number} of {len(combinations)}: {each.directory}", file=sys.stderr)
        _share_data(each.directory, combinations)
        code, was_asked_to_stop = _train(run_file, each)
        if code == TrainingInterrupted.exit_code or (code and was_asked_to_stop):
            raise TrainingInterrupted(f"the sweep stopped in {each.directory}; go on with the same command")
        if code:
            print(f"WARNING: {each.directory} failed with exit code {code}; the sweep goes on", file=sys.stderr)
    outcomes = ranked([outcome(each) for each in combinations], combinations[0].run.training.best)
    if as_json:
        print(json.dumps([each._asdict() for each in outcomes]))
    else:
        _print(outcomes, combinations[0].run.training.best)
    return 0 if all(each.state == "done" for each in outcomes) else 1


def combine(run_file: Path, output: Path, overrides: Sequence[str]) -> list[Combination]:
    """Every combination of the overrides' values, the last key fastest; each is checked as a run."""
    choices = [(key, alternatives(text)) for key, text in map(_split, overrides)]
    swept = [key for key, values in choices if len(values) > 1]
    if not swept:
        raise ConfigError("a sweep needs a --set with several values, such as --set training.schedule.peak=1e-3,3e-4")
    if len(set(swept)) < len(swept):
        raise ConfigError(f"a sweep takes each key once: put all values of {swept[-1]} into one --set, with commas")
    found = []
    for values in itertools.product(*(values for _, values in choices)):
        pairs = [(key, value) for (key, _), value in zip(choices, values, strict=True)]
        chosen = {key: value for key, value in pairs if key in swept}
        settings = tuple(f"{key}={value}" for key, value in pairs)
        found.append(Combination(chosen, settings, output / directory_name(chosen), load_run(run_file, settings)))
    _refuse_equal_names(found)
    return found


def alternatives(text: str) -> list[str]:
    """The values between the commas that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        depth += not quote and (character in "[{") - (character in "]}")
        if character == "," and not quote and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def directory_name(values: dict[str, str]) -> str:
    """Short and telling: the last part of each key with its value, `peak=1e-3,name=lion`."""
    lasts = [key.rpartition(".")[2] for key in values]
    names = [last if lasts.count(last) == 1 else key for key, last in zip(values, lasts, strict=True)]
    text = ",".join(f"{name}={value}" for name, value in zip(names, values.values(), strict=True))
    return re.sub(r"[^\w.+=,-]", "_", text)


def is_done(combination: Combination) -> bool:
    """Whether its directory holds the finished training of this very run."""
    directory = combination.directory
    try:
        text = (directory / "run.toml").read_text("utf-8")
        same = text == to_toml(_settled_as(combination.run, text))
        return same and (directory / "model").is_dir() and _last_record(directory).get("kind") == "final"
    except OSError:
        return False


def _settled_as(run: RunConfig, begun: str) -> RunConfig:
    """The run with the batch size that its directory's run.toml found, where it leaves that to the memory."""
    key = batch_key(run.task)
    try:
        size = tomllib.loads(begun)["training"][key]
    except (ValueError, KeyError, TypeError):
        return run
    if getattr(run.training, key) != "auto":
        return run
    return run.model_copy(update={"training": run.training.model_copy(update={key: size})})


def outcome(combination: Combination) -> Outcome:
    """The best validation score in the log of a run, as far as it has come."""
    directory, key = combination.directory, combination.run.training.best
    if not (directory / "metrics.jsonl").is_file():
        return Outcome(combination.values, str(directory), "failed", None, None, None)
    curves = Curves.from_metrics(directory / "metrics.jsonl")
    points = curves.points("validation", key)
    best = best_of(points, key)
    steps = [record["step"] for record in (*curves.train, *curves.validation)]
    state = "done" if is_done(combination) else "failed"
    score, step = (None, None) if best is None else (best.value, best.step)
    return Outcome(combination.values, str(directory), state, score, step, max(steps, default=None))


def ranked(outcomes: Sequence[Outcome], key: str) -> list[Outcome]:
    """Best first; those without a score last."""
    sign = 1 if key in LOWER_IS_BETTER else -1
    return sorted(outcomes, key=lambda each: (each.score is None, sign * (each.score or 0.0)))


def _split(override: str) -> tuple[str, str]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip() or not alternatives(text):
        raise ConfigError(f"--set wants key.path=value or key.path=value,value, but got {override!r}")
    return key.strip(), text


def _refuse_equal_names(combinations: Sequence[Combination]) -> None:
    names = [each.directory.name for each in combinations]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two combinations would share the directory {twice}: leave one of the values out")
    longest = max(names, key=len)
    if len(longest.encode()) > _LONGEST_NAME:
        raise ConfigError(f"the directory name {longest[:40]}... has more than {_LONGEST_NAME} bytes: sweep fewer keys")


def _share_data(directory: Path, combinations: Sequence[Combination]) -> None:
    """Data that another run has prepared, by hard links: what is made of the same is not made again, and `prepare`
    writes new files where it is not."""
    ready = (each.directory / "data" for each in combinations)
    source = next((data for data in ready if (data / "manifest.json").is_file()), None)
    if source is None or (directory / "data").exists():
        return
    try:
        shutil.copytree(source, directory / "data", copy_function=os.link)
    except OSError:  # a file system without links
        shutil.rmtree(directory / "data", ignore_errors=True)


def _train(run_file: Path, combination: Combination) -> tuple[int, bool]:
    """Train in a process of its own, which gets the signals that come here, and stops and saves when this one is no
    more; -> its exit code, and whether a signal came."""
    settings = [part for override in combination.overrides for part in ("--set", override)]
    ours, held = os.pipe()  # stdin is the corpus's
    command = [sys.executable, "-c", _START, str(ours), "train", str(run_file), "--output", str(combination.directory)]
    try:
        try:
            process = subprocess.Popen(
                [*command, *settings], stdout=subprocess.DEVNULL, start_new_session=True, pass_fds=(ours,)
            )
        finally:
            os.close(ours)
        with _forwarding(process) as forwarded:
            return process.wait(), bool(forwarded)
    finally:
        os.close(held)


@contextmanager
def _forwarding(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """The signals that were passed on, as they come."""
    forwarded: list[int] = []

    def receive(number: int, _: FrameType | None) -> None:
        forwarded.append(number)
        process.send_signal(number)

    before = {number: signal.signal(number, receive) for number in _FORWARDED}
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_record(directory: Path) -> dict[str, Any]:
    lines = (directory / "metrics.jsonl").read_text("utf-8", errors="replace").splitlines()
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:  # a line that a kill cut short
        return {}


def _print(outcomes: Sequence[Outcome], key: str) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (*outcomes[0].values, key, "at step", "steps", "state"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("directory", overflow="fold")
    for each in outcomes:
        numbers = ["" if value is None else f"{value:.5g}" for value in (each.score, each.step, each.last_step)]
        table.add_row(*each.values.values(), *numbers, each.state, each.directory)
    table_console().print(table)
