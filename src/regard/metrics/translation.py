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
from regard.metrics.resampling import SEED, Interval, Values, bootstrap

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
    seed: int = SEED,
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


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str], target_lang: str | None = None) -> Values:
    """What `bleu_of` makes BLEU of, a row a sentence."""
    return _statistics(BLEU(tokenize=bleu_tokenizer(target_lang)), hypotheses, references)


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[str]) -> Values:
    """What `chrf_of` makes chrF of, a row a sentence."""
    return _statistics(CHRF(), hypotheses, references)


def bleu_of(sums: Values) -> Values:
    """BLEU, 0..100, of sums of `bleu_statistics`, (R, K) -> (R,)."""
    return _scores(BLEU(), sums)


def chrf_of(sums: Values) -> Values:
    """chrF, 0..100, of sums of `chrf_statistics`, (R, K) -> (R,)."""
    return _scores(CHRF(), sums)


def signatures(target_lang: str | None = None) -> dict[str, str]:
    """sacrebleu's signatures of `bleu` and `chrf`."""
    made = {"bleu": BLEU(tokenize=bleu_tokenizer(target_lang)), "chrf": CHRF()}
    for metric in made.values():
        metric.corpus_score(["a"], [["a"]])  # it knows its number of references only then
    return {name: str(metric.get_signature()) for name, metric in made.items()}


def _statistics(metric: Metric, hypotheses: Sequence[str], references: Sequence[str]) -> Values:
    return np.asarray(metric._extract_corpus_statistics(hypotheses, [references]), np.float64)


def _scores(metric: Metric, sums: Values) -> Values:
    return np.array([metric._compute_score_from_stats(row.tolist()).score for row in sums])


def _interval(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[str], resamples: int, seed: int
) -> Interval | None:
    if not resamples:
        return None
    statistics = _statistics(metric, hypotheses, references)
    return bootstrap(lambda sums: _scores(metric, sums), statistics, resamples, seed)


def _require_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise InputError(
            f"there must be as many hypotheses as references ({len(references)}), but there are {len(hypotheses)}"
        )
    if not references:
        raise InputError("there is nothing to score: no hypotheses and no references")
