"""Every evaluation by the name of its task in a run file."""

from regard.errors import InputError
from regard.tasks.judging.answers import ANSWERS
from regard.tasks.judging.images import CAPTIONS, IMAGE_LABELS
from regard.tasks.judging.judgement import Evaluation
from regard.tasks.judging.labels import LABELS
from regard.tasks.judging.likelihood import LANGUAGE, MASKED_LANGUAGE
from regard.tasks.judging.pairs import SEARCHES
from regard.tasks.judging.sounds import FRAME_TRANSCRIPTS, TRANSCRIPTS
from regard.tasks.judging.summaries import SUMMARIES
from regard.tasks.judging.tags import TAGS
from regard.tasks.judging.texts import TEXTS
from regard.tasks.judging.translation import TRANSLATION

EVALUATIONS: dict[str, Evaluation] = {
    "translate": TRANSLATION,
    "summarise": SUMMARIES,
    "text-to-text": TEXTS,
    "language-model": LANGUAGE,
    "masked-language-model": MASKED_LANGUAGE,
    "classify": LABELS,
    "tag": TAGS,
    "answer": ANSWERS,
    "embed": SEARCHES,
    "classify-image": IMAGE_LABELS,
    "caption": CAPTIONS,
    "transcribe": TRANSCRIPTS,
    "transcribe-ctc": FRAME_TRANSCRIPTS,
}


def evaluation_of(task: str) -> Evaluation:
    """Raises InputError for a task that is scored only while it trains."""
    if task not in EVALUATIONS:
        raise InputError(
            f"{task} has no use of its own that could be scored: its validation scores are in metrics.jsonl; "
            f"regard evaluate is for {', '.join(EVALUATIONS)}"
        )
    return EVALUATIONS[task]
