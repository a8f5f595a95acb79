"""Recordings, and what is said in them by the word and the character error rate."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from regard.batch import SpeechExample
from regard.data.objectives.files import opened
from regard.features.spoken_languages import language_code
from regard.metrics.transcripts import Normaliser, character_errors, normalised, word_errors
from regard.tasks.judging.judgement import ALL, Evaluation, HeldOut, Judgement, Settings
from regard.tasks.transcribe import Transcription

SOUND = "audio"  # the input of a judgement, which pages name
_NORMALISER: Normaliser = "basic"


def _transcripts(transcriber: Any, examples: Sequence[SpeechExample], settings: Settings) -> Iterator[Transcription]:
    spoken = {example.language for example in examples if transcriber.languages} - {""}
    for language in sorted(spoken):  # before any work, which would be lost
        language_code(language, transcriber.languages)
    for language, alike in groupby(examples, _language):
        told = {"language": language} if language in spoken else {}
        yield from transcriber.each((opened(example.audio) for example in alike), **told, **settings)


def _language(example: SpeechExample) -> str:
    return example.language


def _searched(transcriber: Any, held: HeldOut, settings: Settings) -> Settings:
    """By search alone: a text that is no good is not tried again by sampling, whose scores would be those of a seed,
    and of one that all recordings share."""
    return {"temperature": 0.0, **settings}


def _with_words(transcriber: Any, held: HeldOut, settings: Settings) -> Settings:
    """As the model says, where nobody says otherwise."""
    if transcriber.words is None:
        return settings
    said = {name: getattr(transcriber.words, name) for name in ("num_beams", "alpha", "beta")}
    return {**said, **settings}


def _judged(
    examples: Sequence[SpeechExample], predictions: Sequence[Transcription], settings: Settings
) -> list[Judgement]:
    return [_judgement(example, found) for example, found in zip(examples, predictions, strict=True)]


def _judgement(example: SpeechExample, found: Transcription) -> Judgement:
    """The rates of a corpus are sums over sums, so the statistics of an example are its errors and its length."""
    words = word_errors(found.text, example.text, _NORMALISER)
    characters = character_errors(found.text, example.text, _NORMALISER)
    right = normalised(found.text, _NORMALISER) == normalised(example.text, _NORMALISER)
    return Judgement(
        inputs={SOUND: example.audio},
        reference=example.text,
        output=found.text,
        statistics={"wer": list(words), "cer": list(characters), "exact_match": [float(right), 1]},
        quality=-words.wrong / max(words.length, 1),
        right=right,
        group=example.group or ALL,
        remark="" if right else f"WER {100 * words.wrong / max(words.length, 1):.0f} %",
        finished=not found.cut,
        languages=(None, example.language or None),
    )


def _signatures(judgements: Sequence[Judgement]) -> dict[str, str]:
    said = f"{_NORMALISER}: lower case, punctuation a space"
    return dict.fromkeys(("wer", "cer", "exact_match"), said)


# A rate over kinds of voices together says something of their numbers alone.
TRANSCRIPTS = Evaluation(
    "transcribe",
    _transcripts,
    _judged,
    prepared=_searched,
    signatures=_signatures,
    order=_language,
    options=frozenset({"num_beams", "max_new_tokens"}),
    pooled=False,
)
FRAME_TRANSCRIPTS = Evaluation(
    "transcribe",
    _transcripts,
    _judged,
    prepared=_with_words,
    signatures=_signatures,
    options=frozenset({"num_beams"}),
    pooled=False,
)
