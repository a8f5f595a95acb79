"""Translation scores: BLEU and chrF by sacrebleu, with the signatures that make them comparable; exact match.

All scores are percentages. Sources: Papineni et al. 2002 (BLEU), Popovic 2015 (chrF), Post 2018 (signatures),
Koehn 2004 (bootstrap).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from regard.errors import InputError

Interval = tuple[float, float]

# sacrebleu's name of the word segmentation by language; its own default elsewhere is 13a.
_BLEU_TOKENIZERS = {"zh": "zh", "ja": "char"}


@dataclass(frozen=True)
class TranslationScore:
    """Scores in 0..100; the intervals hold 95 % of the bootstrap's scores, and are None where none was asked for."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str
    bleu_interval: Interval | None = None
    chrf_interval: Interval | None = None


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    target_lang: str | None = None,
    *,
    resamples: int = 0,
    seed: int = 12345,
) -> TranslationScore:
    """BLEU and chrF of a corpus with one reference a hypothesis.

    `target_lang` ("de", "zh-CN", ...) chooses BLEU's tokenizer. `resamples` above 0 adds 95 % intervals from that many
    bootstrap samples of the sentences. Raises InputError where there is nothing to score or the counts differ.
    """
    _require_pairs(hypotheses, references)
    bleu = BLEU(tokenize=bleu_tokenizer(target_lang))
    chrf = CHRF()
    return TranslationScore(
        bleu=bleu.corpus_score(hypotheses, [references]).score,
        chrf=chrf.corpus_score(hypotheses, [references]).score,
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
        bleu_interval=_interval(bleu, hypotheses, references, resamples, seed),
        chrf_interval=_interval(chrf, hypotheses, references, resamples, seed),
    )


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """chrF of one sentence, 0..100."""
    return float(CHRF().sentence_score(hypothesis, [reference]).score)


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The percentage of hypotheses that equal their reference, white space at the ends aside."""
    _require_pairs(hypotheses, references)
    hits = sum(ours.strip() == theirs.strip() for ours, theirs in zip(hypotheses, references, strict=True))
    return 100 * hits / len(references)


def bleu_tokenizer(target_lang: str | None) -> str:
    """sacrebleu's tokenizer for a language tag such as "de", "zh-CN" or "zh_CN"."""
    language = (target_lang or "").replace("_", "-").split("-")[0].lower()
    return _BLEU_TOKENIZERS.get(language, "13a")


def _interval(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[str], resamples: int, seed: int
) -> Interval | None:
    if not resamples:
        return None
    # sacrebleu's own bootstrap holds all samples at once: 1.4 GB at 10,000 sentences. One at a time needs none of it.
    statistics = np.asarray(metric._extract_corpus_statistics(hypotheses, [references]))
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(resamples):
        drawn = rng.integers(len(statistics), size=len(statistics))
        scores.append(metric._compute_score_from_stats(statistics[drawn].sum(axis=0).tolist()).score)
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def _require_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise InputError(
            f"there must be as many hypotheses as references ({len(references)}), but there are {len(hypotheses)}"
        )
    if not references:
        raise InputError("there is nothing to score: no hypotheses and no references")
