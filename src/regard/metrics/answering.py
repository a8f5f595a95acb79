"""Exact match and F1 of answers, as SQuAD's own script defines them (Rajpurkar et al. 2016, 2018)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """Lower case, without punctuation, English articles and superfluous space."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 where a reference is the same when both are normalised, else 0. No reference of which something is left then:
    the right answer is ""."""
    return float(normalised(answer) in _right(references))


def answer_f1(answer: str, references: Sequence[str]) -> float:
    """The best over the references of 2 P R / (P + R) of the words that both have, 0..1."""
    return max(_f1(normalised(answer).split(), reference.split()) for reference in _right(references))


def _right(references: Sequence[str]) -> list[str]:
    return list(filter(None, map(normalised, references))) or [""]


def _f1(ours: Sequence[str], theirs: Sequence[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    hits = (Counter(ours) & Counter(theirs)).total()
    return 2 * hits / (len(ours) + len(theirs))


def best_threshold(differences: Sequence[float], gains: Sequence[float]) -> float:
    """Above which difference no answer is better, given what answering gains: the middle between the last question that
    is answered and the first that is not."""
    order = np.argsort(differences, kind="stable")
    ranked = np.asarray(differences, np.float64)[order]
    cumulative = np.concatenate([[0.0], np.cumsum(np.asarray(gains, np.float64)[order])])
    apart = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # equal ones are answered together or not at all
    answered = int(np.argmax(np.where(apart, cumulative, -np.inf)))
    if answered == 0:
        return float(ranked[0]) - 1
    if answered == len(ranked):
        return float(ranked[-1]) + 1
    return float(ranked[answered - 1] + ranked[answered]) / 2
