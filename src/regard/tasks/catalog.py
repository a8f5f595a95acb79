"""Every task by the name of its verb: what it needs of a model, and how it is made of a checkpoint."""

from collections.abc import Callable
from typing import Any, NamedTuple

from regard.features.audio import AudioProcessor
from regard.interop.word_search import read_word_search
from regard.specs import AudioSpec, ModelSpec
from regard.tasks.answer import Answerer
from regard.tasks.caption import Captioner
from regard.tasks.classify import TextClassifier
from regard.tasks.classify_image import ImageClassifier
from regard.tasks.embed import Embedder, read_habits
from regard.tasks.fill_mask import MaskFiller
from regard.tasks.found import Found
from regard.tasks.images import encoder_family, image_processor, reads_images
from regard.tasks.language_models import chat, text_generator
from regard.tasks.sentence_modules import mean, read_modules
from regard.tasks.similarity import Matcher
from regard.tasks.tag import TokenTagger
from regard.tasks.text_to_text import summariser, translator
from regard.tasks.transcribe import Hearer, transcriber
from regard.tasks.transcribe_frames import FrameTranscriber


class Task(NamedTuple):
    what: str  # with its article
    needs: str  # what a model must be
    fits: Callable[[ModelSpec], bool]
    make: Callable[[Found], Any]


def _reads_text(spec: ModelSpec, *kinds: str) -> bool:
    """Whether it is an encoder or decoder of texts with such a head."""
    return spec.form in ("encoder", "decoder") and spec.source is None and spec.output.kind in kinds


def _continues(spec: ModelSpec) -> bool:
    return spec.form == "decoder" and _reads_text(spec, "language")


def _writes_for_text(spec: ModelSpec) -> bool:
    return spec.form == "encoder-decoder" and spec.source is None and spec.output.kind == "language"


def _captioner(found: Found) -> Captioner:
    processor = image_processor(found.processor, encoder_family(found.spec))
    return Captioner(found.model, processor, found.tokenizer, found.generation_options)


def _image_classifier(found: Found) -> ImageClassifier:
    return ImageClassifier(found.model, image_processor(found.processor, found.spec.family), found.labels)


def _matcher(found: Found) -> Matcher:
    return Matcher(found.model, image_processor(found.processor, found.spec.family), found.tokenizer)


def _transcriber(found: Found) -> Hearer:
    if found.spec.output.kind == "ctc":
        processor, words = AudioProcessor.from_config(found.processor), read_word_search(found.place)
        return FrameTranscriber(found.model, found.tokenizer, processor, words)
    return transcriber(found)


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
        _writes_for_text,
        translator,
    ),
    "summarise": Task(
        "a summariser",
        "an encoder-decoder of texts, or a language model that has learned to summarise",
        lambda spec: _writes_for_text(spec) or _continues(spec),
        summariser,
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
        lambda found: Answerer(found.model, found.tokenizer, found.chosen("no_answer_threshold")),
    ),
    "caption": Task(
        "a captioner",
        "an encoder of images with a decoder of texts",
        lambda spec: spec.form == "encoder-decoder" and reads_images(spec) and spec.output.kind == "language",
        _captioner,
    ),
    "classify-image": Task(
        "an image classifier",
        "an encoder of images with a sequence_class head",
        lambda spec: spec.form == "encoder" and reads_images(spec) and spec.output.kind == "sequence_class",
        _image_classifier,
    ),
    "similarity": Task(
        "a matcher of images and texts",
        "a pair of encoders, of texts and of images",
        lambda spec: spec.form == "pair",
        _matcher,
    ),
    "transcribe": Task(
        "a transcriber",
        "an encoder of sounds with a decoder of texts, or with a ctc head",
        lambda spec: isinstance(spec.source, AudioSpec) and spec.output.kind in ("language", "ctc"),
        _transcriber,
    ),
    "generate": Task(
        "a text generator",
        "a language model, or an encoder-decoder of texts",
        lambda spec: _continues(spec) or _writes_for_text(spec),
        text_generator,
    ),
    "chat": Task("a chat", "a language model with a chat template", _continues, chat),
    "embed": Task(
        "an embedder",
        "an encoder or a decoder of texts",
        lambda spec: _reads_text(
            spec, "hidden", "sequence_class", "token_class", "masked_language", "span", "language"
        ),
        _embedder,
    ),
}
