"""Labels of texts and of images: accuracy and macro F1; of numbers, correlation and error."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from regard.data.records import ClassRecord
from regard.tasks.classify import HELD, Classification, Ranking, TextClassifier
from regard.tasks.judging.judgement import ALL, Evaluation, HeldOut, Judgement, Settings, in_blocks

PROBLEM = "problem"  # as in HeadSpec; in the settings, since the same labels are judged differently


def _classifications(
    classifier: TextClassifier, examples: Sequence[ClassRecord], settings: Settings
) -> Iterator[Classification]:
    asked = {name: value for name, value in settings.items() if name != PROBLEM}
    return chain.from_iterable(_block(classifier, block, asked) for block in in_blocks(examples))


def _block(classifier: TextClassifier, block: Sequence[ClassRecord], settings: Settings) -> list[Classification]:
    """Pairs and single texts may stand side by side in the data, but not in a call."""
    found: dict[int, Classification] = {}
    for paired in (False, True):
        places = [place for place, record in enumerate(block) if (record.pair is not None) == paired]
        if places:
            texts, pairs = [block[place].text for place in places], [block[place].pair or "" for place in places]
            ranked = classifier(texts, pairs, **settings) if paired else classifier(texts, **settings)
            found |= dict(zip(places, ranked, strict=True))
    return [found[place] for place in range(len(block))]


def with_problem(classifier: Any, held: HeldOut, settings: Settings) -> Settings:
    return {PROBLEM: held.run.objective.problem, **settings}


def _judged(
    examples: Sequence[ClassRecord], predictions: Sequence[Classification], settings: Settings
) -> list[Judgement]:
    found = []
    for record, ranking in zip(examples, predictions, strict=True):
        inputs = {"text": record.text} if record.pair is None else {"text": record.text, "pair": record.pair}
        if settings[PROBLEM] == "regression":
            judged = judged_number(inputs, record.value, ranking.score)
        else:
            judged = judged_labels(inputs, record.labels, ranking, settings[PROBLEM])
        found.append(judged._replace(group=record.group or ALL))
    return found


def judged_labels(inputs: dict[str, str], actual: Sequence[str], ranking: Ranking, problem: str) -> Judgement:
    """Of several labels a text is right where all are; a label holds where its probability is above a half."""
    scores = {entry.label: entry.score for entry in ranking.scores}
    several = problem == "multi_label"
    predicted = [label for label, score in scores.items() if score > HELD] if several else [ranking.label]
    right = set(predicted) == set(actual)
    by_class = {
        label: [2.0 * (label in predicted and label in actual), (label in predicted) + (label in actual)]
        for label in sorted({*predicted, *actual})
    }
    confidence = min((scores.get(label, 0.0) for label in actual), default=0.0)
    return Judgement(
        inputs=inputs,
        reference=", ".join(sorted(actual)),
        output=", ".join(sorted(predicted)),
        statistics={"accuracy": [float(right), 1], "macro_f1": by_class},
        quality=1.0 if right else confidence - max((scores[label] for label in predicted), default=0.0),
        right=right,
        remark="" if right or several else f"{ranking.label} {ranking.score:.0%}, the right label {confidence:.0%}",
    )


def judged_number(inputs: dict[str, str], actual: float, predicted: float) -> Judgement:
    return Judgement(
        inputs=inputs,
        reference=f"{actual:g}",
        output=f"{predicted:.4g}",
        statistics={
            "pearson": [1, predicted, actual, predicted**2, actual**2, predicted * actual],
            "absolute_error": [abs(predicted - actual), 1],
        },
        quality=-abs(predicted - actual),
    )


LABELS = Evaluation("classify", _classifications, _judged, prepared=with_problem)
