"""Judgements -> scores with intervals, by group; and two systems' judgements of one test set -> their differences."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from regard.errors import InputError
from regard.metrics.catalog import METRICS
from regard.metrics.resampling import RESAMPLES, SEED, Difference, Interval, Values, bootstrap, paired_bootstrap, total
from regard.tasks.judging.judgement import ALL, Judgement, Statistics


class Scored(NamedTuple):
    """value: in the metric's own unit; None where it is not defined for these examples. examples: that it is about."""

    value: float | None
    interval: Interval | None
    examples: int


class GroupScores(NamedTuple):
    """The scores of one group of examples, by metric."""

    name: str
    examples: int
    unfinished: int
    scores: dict[str, Scored]
    languages: tuple[str | None, str | None] = (None, None)

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        scores = {name: scored._asdict() for name, scored in self.scores.items()}
        return {**self._asdict(), "scores": scores}


class Compared(NamedTuple):
    """One metric of one group."""

    group: str
    metric: str
    examples: int
    found: Difference


def scores_by_group(
    judgements: Sequence[Judgement], *, pooled: bool = True, resamples: int = RESAMPLES, seed: int = SEED
) -> list[GroupScores]:
    """In the order of the groups' names; where there are several, all together come last, if `pooled`. Raises
    InputError where there is nothing to score."""
    if not judgements:
        raise InputError("there is nothing to evaluate: no examples")
    return [_scores(name, own, resamples, seed) for name, own in grouped(judgements, pooled).items()]


def grouped(judgements: Sequence[Judgement], pooled: bool) -> dict[str, list[Judgement]]:
    """The judgements of each group."""
    found: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        found.setdefault(judgement.group, []).append(judgement)
    ordered = {name: found[name] for name in sorted(found)}
    return {**ordered, ALL: list(judgements)} if pooled and len(found) > 1 else ordered


def _scores(name: str, judgements: Sequence[Judgement], resamples: int, seed: int) -> GroupScores:
    scores = {}
    for metric in judgements[0].statistics:
        (statistics,) = matrices([judgement.statistics[metric] for judgement in judgements])
        value = total(METRICS[metric].of, statistics)
        interval = bootstrap(METRICS[metric].of, statistics, resamples, seed) if resamples else None
        scores[metric] = Scored(value if np.isfinite(value) else None, interval, METRICS[metric].counted(statistics))
    unfinished = sum(not judgement.finished for judgement in judgements)
    alike = len({judgement.languages for judgement in judgements}) == 1
    return GroupScores(name, len(judgements), unfinished, scores, judgements[0].languages if alike else (None, None))


def compare(
    first: Sequence[Judgement],
    second: Sequence[Judgement],
    *,
    pooled: bool = True,
    left_out: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Compared]:
    """The paired test of every metric that both have, by group. Both are judgements of the same examples, in one
    order."""
    groups = zip(grouped(first, pooled).items(), grouped(second, pooled).values(), strict=True)
    found = []
    for (name, ours), theirs in groups:
        for metric in ours[0].statistics:
            if metric in theirs[0].statistics and metric not in left_out:
                one, other = matrices(*([each.statistics[metric] for each in own] for own in (ours, theirs)))
                difference = paired_bootstrap(METRICS[metric].of, one, other, resamples, seed)
                found.append(Compared(name, metric, METRICS[metric].counted(one), difference))
    return found


def matrices(*systems: Sequence[Statistics]) -> list[Values]:
    """(N, K) for each system, with the same columns: of statistics by class, for each class that any example of any
    system names, its first number, then for each its second."""
    if not isinstance(systems[0][0], Mapping):
        return [np.asarray(rows, np.float64) for rows in systems]
    classes = sorted({name for rows in systems for row in rows if isinstance(row, Mapping) for name in row})
    places = {name: place for place, name in enumerate(classes)}
    return [_by_class(rows, places) for rows in systems]


def _by_class(rows: Sequence[Any], places: Mapping[str, int]) -> Values:
    found = np.zeros((len(rows), 2, max(len(places), 1)))
    for number, row in enumerate(rows):
        for name, values in row.items():
            found[number, :, places[name]] = values
    return found.reshape(len(rows), -1)
