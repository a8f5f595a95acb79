"""Which scores validation gives to a task."""

from regard.config import RunConfig
from regard.data.objectives.answer import AnswerSpans
from regard.data.objectives.caption import Caption
from regard.data.objectives.classify import Classify
from regard.data.objectives.classify_image import ClassifyImage
from regard.data.objectives.continued import ContinuedSummary
from regard.data.objectives.embed import Embed
from regard.data.objectives.language import LanguageModel
from regard.data.objectives.objective import Objective
from regard.data.objectives.summarise import Summarise
from regard.data.objectives.tag import Tag
from regard.data.objectives.text_to_text import TextToText
from regard.data.objectives.transcribe import Transcribe, TranscribeFrames
from regard.data.objectives.translate import Translate
from regard.data.shards import PreparedData
from regard.models.forms import Transformer
from regard.training.caption_scores import CaptionScores
from regard.training.retrieval_scores import RetrievalScores
from regard.training.scores import ClassScores, LanguageScores, Scores, TokenScores
from regard.training.span_scores import AnswerScores, TagScores
from regard.training.transcript_scores import FrameScores, WrittenScores
from regard.training.writing_scores import AnswerTextScores, SummaryScores, TranslationScores


def scores_of(run: RunConfig, prepared: PreparedData, objective: Objective, model: Transformer) -> Scores:
    """The scores of the validation split, by the objective."""
    shards, tokenizer = prepared.split("validation"), prepared.tokenizer
    match objective:
        case Translate():
            return TranslationScores(model, shards, tokenizer, run.training.score_examples)
        case Summarise() | ContinuedSummary():
            return SummaryScores(model, shards, tokenizer, run.training.score_examples)
        case TextToText():
            return AnswerTextScores(model, shards, tokenizer, run.training.score_examples)
        case LanguageModel():
            return LanguageScores(shards)
        case Classify():
            return ClassScores(objective.problem)
        case Embed():
            return RetrievalScores(shards)
        case Caption():
            return CaptionScores(model, shards, tokenizer, objective.images, run.training.score_examples)
        case TranscribeFrames():
            return FrameScores(shards, tokenizer, tokenizer.id_of("pad"))
        case Transcribe():
            return WrittenScores(model, shards, tokenizer, objective, run.training.score_examples)
        case ClassifyImage():
            return ClassScores("single_label")
        case Tag():
            return TagScores(shards, objective.names)
        case AnswerSpans():
            return AnswerScores(shards, objective, tokenizer)
        case _:
            return TokenScores()
