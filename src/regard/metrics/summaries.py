"""ROUGE by rouge-score (Lin 2004), and how much of a text is copied (See et al. 2017, section 6)."""

import re
from collections import Counter
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

_KINDS = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rouge_l"}


class Rouge(NamedTuple):
    """F, 0..1: of shared words, of shared pairs of words, and of the longest common subsequence of words."""

    rouge1: float
    rouge2: float
    rouge_l: float


def rouge(text: str, reference: str) -> Rouge:
    """ROUGE-1, ROUGE-2 and ROUGE-L, each F1, without stemming. Words are runs of a to z and digits, as in Lin's own
    script, so a text in another alphabet has none and scores 0."""
    scores = _scorer().score(reference, text)
    return Rouge(**{ours: float(scores[theirs].fmeasure) for theirs, ours in _KINDS.items()})


def rouge_signature() -> str:
    """What makes the numbers comparable."""
    return f"rouge-score {version('rouge-score')}, F1, no stemming"


def copied(text: str, source: str, order: int) -> tuple[int, int]:
    """How many of a text's n-grams of `order` words stand in the source, too, and how many it has. Case is no
    difference; a repeated n-gram counts each time."""
    ours, theirs = _ngrams(text, order), _ngrams(source, order)
    return sum(count for ngram, count in ours.items() if ngram in theirs), ours.total()


def _ngrams(text: str, order: int) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return Counter(tuple(words[place : place + order]) for place in range(len(words) - order + 1))


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # which imports nltk: half a second

    return RougeScorer(list(_KINDS), use_stemmer=False)
