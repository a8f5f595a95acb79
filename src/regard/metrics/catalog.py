"""Every metric by the name that records use: what it is made of, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from regard.metrics.classification import macro_f1_of, pearson_of
from regard.metrics.resampling import Score, Values, ratio
from regard.metrics.translation import bleu_of, chrf_of

Unit = Literal["share", "hundred", "number"]  # 0..1, shown in per cent; 0..100; anything


@dataclass(frozen=True)
class Metric:
    """of: sums of the examples' statistics (R, K) -> scores (R,). better: which way. of_tokens: whether it compares
    models of one tokenizer alone. of_some: whether it is about some of the examples, those whose last statistic is not
    0."""

    title: str
    of: Score = ratio
    unit: Unit = "share"
    better: Literal["higher", "lower", "neither"] = "higher"
    of_tokens: bool = False
    of_some: bool = False

    def counted(self, statistics: Values) -> int:
        """How many of the examples, (N, K), it is about."""
        return int(np.count_nonzero(statistics[:, -1])) if self.of_some else len(statistics)

    def shown(self, value: float) -> float:
        """A value as people read it: shares in per cent."""
        return 100 * value if self.unit == "share" else value

    @property
    def digits(self) -> int:
        """After the point, in a table."""
        return 3 if self.unit == "number" else 2

    def text(self, value: float | None) -> str:
        """ "81.20 %", "34.90", "1.234"; a dash where there is none."""
        if value is None or value != value:
            return "–"
        return f"{self.shown(value):.{self.digits}f}" + (" %" if self.unit == "share" else "")

    def interval_text(self, bounds: Sequence[float] | None) -> str:
        """ "80.1 – 82.3", in the unit of `text`, one below 1 with its digits; empty where there is none."""
        if bounds is None:
            return ""
        small = max(map(self.shown, bounds)) < 1
        digits = self.digits - (self.unit != "number" and not small)
        return " – ".join(f"{self.shown(bound):.{digits}f}" for bound in bounds)


def _perplexity(sums: Values) -> Values:
    return np.exp(np.minimum(ratio(sums), 700.0))


METRICS: dict[str, Metric] = {
    "bleu": Metric("BLEU", bleu_of, "hundred"),
    "chrf": Metric("chrF", chrf_of, "hundred"),
    "exact_match": Metric("exact match"),
    "rouge1": Metric("ROUGE-1 F"),
    "rouge2": Metric("ROUGE-2 F"),
    "rouge_l": Metric("ROUGE-L F"),
    "copied1": Metric("copied words", better="neither"),
    "copied2": Metric("copied pairs of words", better="neither"),
    "copied4": Metric("copied runs of four words", better="neither"),
    "f1": Metric("F1"),
    "exact_match_answerable": Metric("exact match, answerable", of_some=True),
    "f1_answerable": Metric("F1, answerable", of_some=True),
    "right_unanswerable": Metric("right, unanswerable", of_some=True),
    "accuracy": Metric("accuracy"),
    "macro_f1": Metric("macro F1", macro_f1_of),
    "entity_f1": Metric("entity F1"),
    "pearson": Metric("Pearson's r", pearson_of, "number"),
    "absolute_error": Metric("mean absolute error", unit="number", better="lower"),
    "loss": Metric("loss, nats a token", unit="number", better="lower", of_tokens=True),
    "perplexity": Metric("perplexity of a token", _perplexity, "number", "lower", of_tokens=True),
    "token_accuracy": Metric("accuracy of hidden tokens", of_tokens=True),
    "bits_per_byte": Metric("bits per byte", unit="number", better="lower"),
    "cider_d": Metric("CIDEr-D", unit="number"),
    "wer": Metric("word error rate", better="lower"),
    "cer": Metric("character error rate", better="lower"),
    "recall1": Metric("recall@1"),
    "recall10": Metric("recall@10"),
    "reciprocal_rank": Metric("mean reciprocal rank", unit="number"),
}
