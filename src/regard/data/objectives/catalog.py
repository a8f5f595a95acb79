"""Every objective by the name of its task in a run file."""

from collections.abc import Callable

from regard.config import RunConfig, TaskName
from regard.data.objectives.answer import AnswerSpans
from regard.data.objectives.caption import Caption
from regard.data.objectives.classify import Classify
from regard.data.objectives.classify_image import ClassifyImage
from regard.data.objectives.continued import Continued, ContinuedSummary
from regard.data.objectives.corruption import SpanCorruption
from regard.data.objectives.embed import Embed
from regard.data.objectives.images import square
from regard.data.objectives.language import LanguageModel
from regard.data.objectives.masked import MaskedLanguageModel
from regard.data.objectives.objective import Objective
from regard.data.objectives.summarise import Summarise
from regard.data.objectives.tag import Tag
from regard.data.objectives.text_to_text import TextToText
from regard.data.objectives.transcribe import Transcribe, TranscribeFrames, hearing
from regard.data.objectives.translate import Translate

OBJECTIVES: dict[TaskName, Callable[[RunConfig], Objective]] = {
    "translate": lambda run: Translate(run.data.max_tokens, run.data.max_ratio, run.data.language_tags),
    "summarise": lambda run: (
        Summarise(run.data.max_tokens)
        if run.data.prompt is None
        else ContinuedSummary(run.data.max_tokens, run.data.prompt)
    ),
    "text-to-text": lambda run: (
        TextToText(run.data.max_tokens) if run.data.prompt is None else Continued(run.data.max_tokens, run.data.prompt)
    ),
    "language-model": lambda run: LanguageModel(run.data.max_tokens),
    "masked-language-model": lambda run: MaskedLanguageModel(
        run.data.max_tokens, run.objective.rate, run.objective.whole_words
    ),
    "span-corruption": lambda run: SpanCorruption(run.data.max_tokens, run.objective.rate, run.objective.mean_span),
    "classify": lambda run: Classify(run.data.max_tokens, run.objective.problem),
    "tag": lambda run: Tag(run.data.max_tokens, run.objective.stride),
    "embed": lambda run: Embed(run.data.max_tokens),
    "caption": lambda run: Caption(
        run.data.max_tokens, square(run.data.image_size), run.augmentation, run.data.language_tags
    ),
    "classify-image": lambda run: ClassifyImage(run.data.max_tokens, square(run.data.image_size), run.augmentation),
    "transcribe": lambda run: Transcribe(
        run.data.max_tokens, hearing(run.data.audio_seconds, run.data.frame_ms), run.augmentation, run.data.language
    ),
    "transcribe-ctc": lambda run: TranscribeFrames(
        run.data.max_tokens,
        hearing(run.data.audio_seconds, run.data.frame_ms, run.data.pad_to_multiple_ms),
        run.augmentation,
    ),
    "answer": lambda run: AnswerSpans(run.data.max_tokens, run.objective.stride),
}


def objective_of(run: RunConfig) -> Objective:
    """The objective of a run, before the labels of its data are known."""
    return OBJECTIVES[run.task](run)
