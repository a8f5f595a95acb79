"""What a page says of each task: what its items are called, and what its curves mean."""

from dataclasses import dataclass, replace

from regard.config import RunConfig

_TRAINING = (
    " Training loss is measured with dropout, and with label smoothing where the run uses it, so it may lie above "
    "validation's."
)


@dataclass(frozen=True)
class Words:
    """columns: of the table of items. compared: whether an output is held against its reference word by word."""

    noun: str  # what the outputs are
    columns: tuple[str, str, str]
    loss: str
    scores: str
    compared: bool = True
    loss_unit: str = "nats per token"
    speed_unit: str = "tokens per second"
    speed: str = "Real tokens learnt from in a second; padding is not counted."
    bits: str = (
        "How many bits the model needs for each byte of the text: independent of the tokenizer, lower is better. A "
        "compressor that asked the model would reach it."
    )
    worst: str = "Of all test items, the outputs that lie farthest from their references"


TRANSLATIONS = Words(
    noun="translations",
    columns=("Source", "Reference", "Output"),
    loss="How surprised the model is by each next token of the right translation (cross-entropy): lower is better."
    + _TRAINING,
    scores="Validation sentences, translated and compared with their references: BLEU counts shared runs of words, "
    "chrF shared runs of characters, exact match whole sentences. 100 is perfect.",
    speed_unit="target tokens per second",
    speed="Real target tokens learnt from in a second; padding is not counted.",
)
_WRITTEN = replace(
    TRANSLATIONS,
    loss="How surprised the model is by each next token of the right text (cross-entropy): lower is better."
    + _TRAINING,
)

WORDS: dict[str, Words] = {
    "translate": TRANSLATIONS,
    "summarise": replace(
        _WRITTEN,
        noun="summaries",
        columns=("Text", "Reference", "Summary"),
        scores="Validation texts, summarised and compared with their references: ROUGE counts shared words, shared "
        "pairs of them, and the longest common order of words. 100 is perfect, and out of reach where several "
        "summaries are right.",
    ),
    "caption": replace(
        _WRITTEN,
        noun="captions",
        columns=("Image", "Reference", "Caption"),
        scores="Validation images, captioned and compared with their references. 100 is perfect.",
    ),
    "transcribe": replace(
        _WRITTEN,
        noun="transcripts",
        columns=("Sound", "Reference", "Transcript"),
        scores="Validation recordings, transcribed and compared with what was said: the share of words, and of "
        "characters, that are wrong, missing or too many. 0 is perfect.",
    ),
    "classify": Words(
        noun="classifications",
        columns=("Text", "Label", "Predicted"),
        loss="How surprised the model is by the right label (cross-entropy): lower is better." + _TRAINING,
        scores="Of validation's texts, the share whose label is right, and macro F1, which counts each class alike, "
        "however rare. 100 is perfect.",
        compared=False,
        loss_unit="per example",
        worst="Of all test items, those where the model is surest of a wrong answer",
    ),
    "tag": Words(
        noun="tagged texts",
        columns=("Text", "Tags", "Predicted"),
        loss="How surprised the model is by each word's right tag (cross-entropy): lower is better." + _TRAINING,
        scores="Of validation's words, the share with the right tag; and F1 of the entities, right where kind, "
        "beginning and end are. 100 is perfect.",
        loss_unit="nats per word",
    ),
    "answer": Words(
        noun="answers",
        columns=("Question", "Reference", "Answer"),
        loss="How surprised the model is by the place where the answer begins, and by that where it ends "
        "(cross-entropy): lower is better." + _TRAINING,
        scores="Validation's questions: exact match is the share of answers that are the reference, articles and "
        "punctuation aside; F1 counts the words that both share. 100 is perfect.",
        loss_unit="nats per place",
    ),
    "language-model": Words(
        noun="texts",
        columns=("Text", "", ""),
        loss="How surprised the model is by each next token (cross-entropy): lower is better." + _TRAINING,
        scores="",
        compared=False,
        worst="Of all test texts, those that surprise the model most",
    ),
    "masked-language-model": Words(
        noun="texts",
        columns=("Text", "", ""),
        loss="How surprised the model is by each hidden token (cross-entropy): lower is better." + _TRAINING,
        scores="The share of the hidden tokens that the model finds. All of them is out of reach: more than one often "
        "fits.",
        compared=False,
        worst="Of all test texts, those whose hidden tokens surprise the model most",
    ),
    "embed": Words(
        noun="searches",
        columns=("Query", "Wanted", "Found first"),
        loss="How surprised the model is by the right partner among the others of its batch (cross-entropy): lower is "
        "better." + _TRAINING,
        scores="The share of validation's queries whose partner is among the first ten found. 100 is perfect.",
        compared=False,
        loss_unit="nats per pair",
        worst="Of all queries, those whose partner is found last",
    ),
}
WORDS["classify-image"] = replace(
    WORDS["classify"],
    columns=("Image", "Label", "Predicted"),
    scores=WORDS["classify"].scores.replace("texts", "images"),
    speed_unit="images per second",
    speed="Images learnt from in a second.",
)
WORDS["text-to-text"] = replace(
    _WRITTEN,
    noun="texts",
    columns=("Source", "Reference", "Text"),
    scores="Validation's outputs compared with their references: exact match, articles and punctuation aside, and F1 "
    "of the words that both share. 100 is perfect.",
)
WORDS["transcribe-ctc"] = replace(
    WORDS["transcribe"],
    loss="How surprised the model is by the right text, over all ways to spread it over the frames (connectionist "
    "temporal classification): lower is better." + _TRAINING,
)
NUMBERS = replace(  # of a regression
    WORDS["classify"],
    noun="estimates",
    columns=("Text", "Number", "Estimate"),
    loss="How far the model's numbers are off, squared: lower is better." + _TRAINING,
    scores="How closely the model's numbers of validation's texts go up and down with the right ones (Pearson's "
    "correlation). 100 is perfect.",
    worst="Of all test items, those whose numbers are farthest off",
)
WORDS["span-corruption"] = replace(_WRITTEN, noun="texts")


def words_of(run: RunConfig) -> Words:
    """Those of the run's task, or of its problem."""
    return NUMBERS if is_regression(run) else WORDS[run.task]


def is_regression(run: RunConfig) -> bool:
    return run.task == "classify" and run.objective.problem == "regression"
