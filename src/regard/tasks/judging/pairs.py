"""Embeddings: how high each text's partner stands among the partners of all texts of the split."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from regard.data.records import PairRecord
from regard.metrics.retrieval import ranks, recall_at
from regard.tasks.embed import Embedder
from regard.tasks.judging.judgement import Evaluation, Judgement, Settings


class Search(NamedTuple):
    """rank: of the text's own partner, from 1; first: the partner that was found first."""

    rank: int
    first: str


def _searches(embedder: Embedder, examples: Sequence[PairRecord], settings: Settings) -> Iterator[Search]:
    """Equal partners are one candidate: which of them belongs to the text cannot be told."""
    candidates = list(dict.fromkeys(record.positive for record in examples))
    places = {text: place for place, text in enumerate(candidates)}
    queries = embedder.vectors([record.text for record in examples], **settings)
    near: Any = embedder.compare(queries, embedder.vectors(candidates, **settings))
    found = ranks(near, [places[record.positive] for record in examples])
    best = np.argmax(near, axis=1)
    return (Search(int(rank), candidates[place]) for rank, place in zip(found, best, strict=True))


def _judged(examples: Sequence[PairRecord], predictions: Sequence[Search], settings: Settings) -> list[Judgement]:
    return [_judgement(record, search) for record, search in zip(examples, predictions, strict=True)]


def _judgement(record: PairRecord, search: Search) -> Judgement:
    return Judgement(
        inputs={"query": record.text},
        reference=record.positive,
        output=search.first,
        statistics={
            "recall1": [recall_at(search.rank, 1), 1],
            "recall10": [recall_at(search.rank, 10), 1],
            "reciprocal_rank": [1 / search.rank, 1],
        },
        quality=-float(search.rank),
        right=search.rank == 1,
        remark="" if search.rank == 1 else f"rank {search.rank:,}",
    )


SEARCHES = Evaluation("embed", _searches, _judged)
