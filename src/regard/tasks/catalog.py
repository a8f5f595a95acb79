"""Every task by the name of its verb: what it needs of a model, and how it is made of a checkpoint."""

from collections.abc import Callable
from typing import Any, NamedTuple

from regard.errors import CheckpointError
from regard.specs import ModelSpec
from regard.tasks.answer import Answerer
from regard.tasks.classify import TextClassifier
from regard.tasks.embed import Embedder, read_habits
from regard.tasks.fill_mask import MaskFiller
from regard.tasks.found import Found
from regard.tasks.sentence_modules import mean, read_modules
from regard.tasks.tag import TokenTagger
from regard.tasks.translate import Translator


class Task(NamedTuple):
    what: str  # with its article
    needs: str  # what a model must be
    fits: Callable[[ModelSpec], bool]
    make: Callable[[Found], Any]


def _reads_text(spec: ModelSpec, *kinds: str) -> bool:
    """Whether it is an encoder or decoder of texts with such a head."""
    return spec.form in ("encoder", "decoder") and spec.source is None and spec.output.kind in kinds


def _translator(found: Found) -> Translator:
    ids = {
        "eos id": (found.tokenizer.eos_id, found.spec.tokens.eos),
        "pad id": (found.tokenizer.pad_id, found.spec.tokens.pad),
    }
    for name, (ours, theirs) in ids.items():
        if ours != theirs:
            raise CheckpointError(
                f"{found.place}: the tokenizer is another model's: its {name} is {ours}, but the model's is {theirs}"
            )
    return Translator(found.model, found.tokenizer, found.model.generation_options)


def _embedder(found: Found) -> Embedder:
    if found.sentences is None:
        return Embedder(found.model, found.tokenizer, (mean,))
    after = read_modules(found.sentences).after
    return Embedder(found.model, found.tokenizer, after, read_habits(found.sentences, found.place))


# Where nobody names a task, it is the first that the model fits: each head is for one, and without one a model embeds.
TASKS: dict[str, Task] = {
    "translate": Task(
        "a translator",
        "an encoder-decoder of texts",
        lambda spec: spec.form == "encoder-decoder" and spec.source is None and spec.output.kind == "language",
        _translator,
    ),
    "classify": Task(
        "a text classifier",
        "a model of texts with a sequence_class head",
        lambda spec: _reads_text(spec, "sequence_class"),
        lambda found: TextClassifier(found.model, found.tokenizer, found.labels),
    ),
    "tag": Task(
        "a token tagger",
        "a model of texts with a token_class head",
        lambda spec: _reads_text(spec, "token_class"),
        lambda found: TokenTagger(found.model, found.tokenizer, found.labels),
    ),
    "fill-mask": Task(
        "a mask filler",
        "a model of texts with a masked_language head",
        lambda spec: _reads_text(spec, "masked_language"),
        lambda found: MaskFiller(found.model, found.tokenizer),
    ),
    "answer": Task(
        "an answerer",
        "a model of texts with a span head",
        lambda spec: _reads_text(spec, "span"),
        lambda found: Answerer(found.model, found.tokenizer),
    ),
    "embed": Task(
        "an embedder",
        "an encoder or a decoder of texts",
        lambda spec: _reads_text(
            spec, "hidden", "sequence_class", "token_class", "masked_language", "span", "language"
        ),
        _embedder,
    ),
}
