"""What a run says of itself: metrics.jsonl always, a bar or plain lines on the console, TensorBoard when asked for."""

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from regard.errors import MissingDependencyError

Record = Mapping[str, Any]  # one line of metrics.jsonl
_SCORES = (
    ("loss", "loss", ".4f"),
    ("perplexity", "perplexity", ",.2f"),
    ("bleu", "BLEU", ".1f"),
    ("chrf", "chrF", ".1f"),
    ("bits_per_byte", "bits/byte", ".3f"),
    ("accuracy", "accuracy", ".2%"),
    ("exact_match", "exact match", ".2%"),
    ("f1", "F1", ".2%"),
    ("pearson", "Pearson", ".4f"),
    ("rouge1", "ROUGE-1", ".2%"),
    ("rouge2", "ROUGE-2", ".2%"),
    ("rouge_l", "ROUGE-L", ".2%"),
    ("recall10", "recall@10", ".2%"),
    ("wer", "WER", ".2%"),
    ("cer", "CER", ".2%"),
)


class MetricsLog:
    """metrics.jsonl: one JSON object a line, each step once, however often the run was resumed."""

    def __init__(self, path: Path, step: int) -> None:
        """Lines after `step`, which a resumed run writes again, and lines that a kill cut short are dropped."""
        kept = [line for line in _lines(path) if _stays(line, step)]
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(kept), "utf-8")
        os.replace(temporary, path)
        self._file = path.open("ab", buffering=0)
        self._waiting = b""

    def write(self, record: Record) -> None:
        """Append a record; it is in the file when this returns, or waits for the next one where this raises OSError."""
        self._waiting += json.dumps(record, allow_nan=False).encode() + b"\n"
        while self._waiting:
            written = self._file.write(self._waiting)
            self._waiting = self._waiting[written:]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Report:
    """A run's records, to everyone who listens. Used as a context manager; the bar lives as long."""

    def __init__(
        self,
        directory: Path | None,
        console: Console,
        *,
        step: int,
        counted: str = "tokens",
        tensorboard: bool = False,
    ) -> None:
        """directory: None: another worker of the cluster keeps the records. step: where the run starts or goes on.
        counted: what a record's tokens are, in words. Raises MissingDependencyError for TensorBoard without
        its package."""
        wanted = tensorboard and directory is not None
        self._curves = _tensorboard_writer(Path(directory or ".") / "tensorboard") if wanted else None
        self._log = None if directory is None else MetricsLog(directory / "metrics.jsonl", step)
        self._console, self._counted = console, counted
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task("training", total=1.0, status="") if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end_bar()
        if self._log is not None:
            self._log.close()
        if self._curves is not None:
            self._curves.close()

    def train(self, record: Record, share: float, seconds_left: float | None) -> None:
        """A line of training; share: of the budget that is done, 0..1."""
        self._write(record)
        self._draw_curves(record)
        status = train_text(record, seconds_left, self._counted)
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=share, status=escape(status))
        else:
            self.say(f"step {record['step']}  {status}")

    def validation(self, record: Record) -> None:
        """A line of validation."""
        self._write(record)
        self._draw_curves(record)
        self.say(f"step {record['step']}  validation  {validation_text(record)}")

    def final(self, record: Record) -> None:
        """What became of the run; `loss` and so on where the model written was validated."""
        self._write(record)
        scores = f": {validation_text(record)}" if "loss" in record else ""
        self.say(f"{record['reason']}; the model is of {', '.join(record['checkpoints'])}{scores}")

    def skipped(self, record: Record) -> None:
        """A step that touched nothing, why, and where its data lies."""
        self._write(record)
        where = f"epoch {record['epoch']}, from batch {record['batch']} on"
        self.warn(f"step {record['step']} was skipped: {record['reason']} ({where})")

    def rolled_back(self, record: Record) -> None:
        """The weights are those of an earlier checkpoint again, and why."""
        self._write(record)
        self.warn(
            f"{record['reason']}: rolled back to the weights of step {record['to']}; training goes on after the data "
            f"of step {record['step']} (rollback {record['rollbacks']})"
        )

    def step(self, number: int, share: float) -> None:
        """The bar's position; nothing where there is no bar."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=share, description=f"step {number:,}")

    def say(self, text: str) -> None:
        """A line on the console alone."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A loud line on the console alone."""
        self._console.print(f"WARNING: {text}", markup=False, highlight=False, soft_wrap=True, style="bold red")

    def end_bar(self) -> None:
        """Give the terminal back, cursor and all."""
        if self._bar:
            self._bar.stop()

    def _write(self, record: Record) -> None:
        """A full disk does not end training: the record waits, and goes out with the next one."""
        if self._log is None:
            return
        try:
            self._log.write(record)
        except OSError as error:
            self.warn(f"metrics.jsonl could not be written: {error}")

    def _draw_curves(self, record: Record) -> None:
        if self._curves is None:
            return
        import tensorflow as tf

        with self._curves.as_default(step=record["step"]):
            for name, value in record.items():
                if isinstance(value, int | float) and name != "step":
                    tf.summary.scalar(f"{record['kind']}/{name}", value)


def train_text(record: Record, seconds_left: float | None, counted: str = "tokens") -> str:
    """One training record for people."""
    loss = "skipped" if record["loss"] is None else f"{record['loss']:.4f}"
    parts = [
        f"loss {loss}",
        f"rate {record['learning_rate']:.2e}",
        f"padding {record['padding']:.1%}",
    ]
    if record["tokens_per_second"] is not None:
        parts.append(f"{record['tokens_per_second']:,.0f} {counted}/s")
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    return "  ".join(parts)


def validation_text(record: Record) -> str:
    """One validation record for people."""
    return "  ".join(f"{shown} {record[name]:{form}}" for name, shown, form in _SCORES if record.get(name) is not None)


def duration(seconds: float) -> str:
    """4000 -> "1:06:40", 75 -> "1:15"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
    return Progress(*columns, console=console, refresh_per_second=2, transient=True)


def require_tensorboard() -> None:
    """Raise MissingDependencyError where the package is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingDependencyError(
            "training.tensorboard needs the package tensorboard: pip install 'regard[tensorboard]', "
            "or set training.tensorboard = false"
        )


def _tensorboard_writer(directory: Path) -> Any:
    require_tensorboard()
    import tensorflow as tf

    return tf.summary.create_file_writer(str(directory))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except FileNotFoundError:
        return


def _stays(line: str, step: int) -> bool:
    """Not the account of a run's end, which will end anew, nor a line that a kill cut short."""
    try:
        record = json.loads(line)
        return record["kind"] != "final" and record["step"] <= step
    except (ValueError, KeyError, TypeError):
        return False
