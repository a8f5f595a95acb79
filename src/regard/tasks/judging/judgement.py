"""What every evaluation is: which task it needs, how that predicts, and how a prediction is judged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from regard.config import RunConfig
from regard.data.objectives.catalog import objective_of
from regard.data.shards import PreparedData

Settings = dict[str, Any]  # of a prediction, JSON's own values
Statistics = Sequence[float] | Mapping[str, Sequence[float]]  # of an example: numbers, or some for each class

ALL = "all"  # the group of every example
SEARCH = frozenset({"num_beams", "beam_threshold", "length_penalty", "max_new_tokens"})  # options of what writes


class Judgement(NamedTuple):
    """One held-out example and what became of it.

    inputs: what went in, by name, in reading order. statistics: by the metric's name, what its score is made of.
    quality: how good the output is, higher is better: the worst errors are the lowest. right: None where no single
    output is right. group: what is scored by itself: a direction, a language. finished: False where max_new_tokens came
    before the end.
    """

    inputs: Mapping[str, str]
    reference: str
    output: str
    statistics: Mapping[str, Statistics]
    quality: float
    right: bool | None = None
    group: str = ALL
    remark: str = ""
    finished: bool = True
    languages: tuple[str | None, str | None] = (None, None)  # of the inputs and of the output


@dataclass(frozen=True)
class HeldOut:
    """A split of a run's data, and what the run says of it."""

    run: RunConfig
    data: PreparedData
    split: str

    def examples(self, split: str | None = None) -> list[Any]:
        """The records of the split, or of another one, each once: of several windows, that which begins it."""
        objective = objective_of(self.run)
        shards = self.data.split(split or self.split)
        window = objective.columns.index("window") if "window" in objective.columns else None
        begins = [True] * len(shards)
        if window is not None:
            begins = [int(shards.row(place)[window][0]) == 0 for place in range(len(shards))]
        return [objective.record(*shards.text(place)) for place, first in enumerate(begins) if first]

    def has(self, split: str) -> bool:
        """Whether the data has examples of this split."""
        return split in self.data.manifest["splits"] and len(self.data.split(split)) > 0


def _as_they_are(task: Any, held: HeldOut, settings: Settings) -> Settings:
    return settings


def searched_with(task: Any, settings: Settings) -> Settings:
    """The settings, and what the checkpoint's search does where they are silent; of a task that writes."""
    defaults = task.defaults
    beams = settings.get("num_beams", defaults.num_beams)
    said = {"num_beams": beams, "max_new_tokens": defaults.max_new_tokens}
    if beams > 1:
        said |= {"length_penalty": defaults.length_penalty, "length_penalty_form": defaults.length_penalty_form}
    return {**said, **settings}


@dataclass(frozen=True)
class Evaluation:
    """How a run's task is evaluated.

    task: of `regard.tasks.catalog.TASKS`, what the checkpoint is loaded as. predict: a prediction for each example, in
    their order. judge: a judgement for each. prepared: the settings that the run implies, under what the user asked
    for. signatures: by metric, what makes its numbers comparable. order: how examples are sorted before. options: of
    those that a user may give, the ones that are for it. pooled: whether a score over all groups means something.
    """

    task: str
    predict: Callable[[Any, Sequence[Any], Settings], Iterator[Any]]
    judge: Callable[[Sequence[Any], Sequence[Any], Settings], list[Judgement]]
    prepared: Callable[[Any, HeldOut, Settings], Settings] = _as_they_are
    signatures: Callable[[Sequence[Judgement]], dict[str, str]] = lambda judgements: {}
    order: Callable[[Any], Any] | None = None
    options: frozenset[str] = frozenset({"batch_tokens"})
    pooled: bool = True


def in_blocks(examples: Sequence[Any], size: int = 256) -> Iterator[Sequence[Any]]:
    """The examples in order, so many at a time: as many predictions come at once."""
    return (examples[start : start + size] for start in range(0, len(examples), size))
