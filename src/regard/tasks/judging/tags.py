"""Tags of words: accuracy, and F1 of the entities that they spell, as seqeval has it."""

from collections.abc import Iterator, Sequence
from itertools import chain

from regard.data.records import TagRecord
from regard.metrics.tagging import entity_counts
from regard.tasks.judging.judgement import ALL, Evaluation, HeldOut, Judgement, Settings, in_blocks
from regard.tasks.tag import NO_ENTITY, TokenTagger


def _tags(tagger: TokenTagger, examples: Sequence[TagRecord], settings: Settings) -> Iterator[list[str]]:
    return chain.from_iterable(
        tagger.word_tags([record.words for record in block], **settings) for block in in_blocks(examples)
    )


def _settings(tagger: TokenTagger, held: HeldOut, settings: Settings) -> Settings:
    length = min(held.run.data.max_tokens, tagger.max_length or held.run.data.max_tokens)
    return {"max_length": length, **settings}


def _judged(examples: Sequence[TagRecord], predictions: Sequence[list[str]], settings: Settings) -> list[Judgement]:
    return [_judgement(record, tags) for record, tags in zip(examples, predictions, strict=True)]


def _judgement(record: TagRecord, tags: Sequence[str]) -> Judgement:
    hits = sum(one == other for one, other in zip(tags, record.tags, strict=True))
    return Judgement(
        inputs={"text": " ".join(record.words)},
        reference=_spelled(record.words, record.tags),
        output=_spelled(record.words, tags),
        statistics={"accuracy": [hits, len(record.words)], "entity_f1": list(entity_counts(tags, record.tags))},
        quality=hits / len(record.words),
        right=hits == len(record.words),
        group=record.group or ALL,
        remark="" if hits == len(record.words) else f"{len(record.words) - hits} of {len(record.words)} tags wrong",
    )


def _spelled(words: Sequence[str], tags: Sequence[str]) -> str:
    """The words that carry more than the tag of none: "Anna/B-PER New/B-LOC York/I-LOC"."""
    return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True) if tag != NO_ENTITY)


TAGS = Evaluation("tag", _tags, _judged, prepared=_settings)
