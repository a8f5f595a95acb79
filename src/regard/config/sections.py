"""The tables of a run file but the outermost: frozen, checked, each key documented in a line."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from regard.config.section import Section
from regard.config.updates import OptimizerConfig, ScheduleConfig
from regard.specs import Problem


class CorpusConfig(Section):
    """One corpus: two aligned files, a TSV, JSON Lines, or plain text; plain or .gz, globs allowed, `-` is stdin."""

    source: str | None = None  # with target: aligned files, one sentence a line
    target: str | None = None  # line n is the translation, or what else is to be written, of source's line n
    tsv: str | None = None  # source TAB target [TAB source language TAB target language]
    jsonl: str | None = None  # objects with "source" and "target", or what else the task reads: docs/objectives.md
    text: str | None = None  # documents: tasks that learn from text alone
    documents: Literal["blank-line", "line", "file"] | None = None  # what ends one of `text`; absent: a blank line
    source_lang: str | None = None  # of all its pairs
    target_lang: str | None = None  # with language_tags: which tag the sources begin with
    weight: float = Field(default=1.0, gt=0)  # how often an epoch repeats it: 2.0 twice, 0.5 a fixed half

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        others = (self.tsv, self.jsonl, self.text)
        kinds = [self.source is not None or self.target is not None, *(each is not None for each in others)]
        if sum(kinds) != 1:
            raise ValueError("a corpus is either source + target, or tsv, or jsonl, or text: give exactly one")
        if (self.source is None) != (self.target is None):
            raise ValueError("source and target belong together: give both")
        if self.text is None and self.changed("documents"):
            raise ValueError("documents says what ends a document of text, but this corpus has no text: leave it out")
        return self

    @property
    def name(self) -> str:
        """The files as the run file has them."""
        return str(self.source or self.tsv or self.jsonl or self.text)

    @property
    def kind(self) -> Literal["source", "tsv", "jsonl", "text"]:
        """By the key that names its files."""
        if self.source is not None:
            return "source"
        return "tsv" if self.tsv is not None else "jsonl" if self.jsonl is not None else "text"


class CurriculumConfig(Section):
    """Short examples first (Platanios et al. 2019, its square-root rule)."""

    steps: int = Field(ge=1)  # after which all examples are drawn alike
    share: float = Field(default=0.01, gt=0, le=1)  # of the shortest batches, which the first ones are drawn from


class DataConfig(Section):
    """Where the examples come from, and which are kept."""

    builder: str | None = None  # a data set of regard.corpora ("demo", "debian-en-de", ...) instead of files
    # Corpora to learn from, [{ tsv = "pairs.tsv" }, ...].
    train: tuple[CorpusConfig, ...] = Field(default=(), strict=False)
    # What checkpoints are chosen by; absent: split off the training corpora, by a hash.
    validation: tuple[CorpusConfig, ...] = Field(default=(), strict=False)
    test: tuple[CorpusConfig, ...] = Field(default=(), strict=False)  # for `regard evaluate` alone
    # Begin each source with its target language, >>de<<, as Marian does; each caption with its own.
    language_tags: bool = False
    # How a language model is asked for a target: a text with {source} in it, behind which the target stands; special
    # tokens that it spells are read as such. Absent: an encoder reads the source, and a decoder writes the target.
    prompt: str | None = None
    # The most tokens that the model reads at once: pairs with a longer side are dropped, classified texts are cut,
    # other texts are read in windows; all of it is counted.
    max_tokens: int = Field(default=128, ge=2)
    image_size: int | None = Field(default=None, ge=1)  # pixels a side that images are resized to
    audio_seconds: int | None = Field(default=None, ge=1, le=30)  # of a recording; longer ones are dropped, and counted
    # Milliseconds from a frame of a recording to the next, which looks at 25; absent: 10. Twice as many halve the work.
    frame_ms: int | None = Field(default=None, ge=1, le=25)
    # Silence behind a recording goes to the next multiple of so many milliseconds, for that much less work, and a batch
    # has recordings of one such length; absent: to audio_seconds.
    pad_to_multiple_ms: int | None = Field(default=None, ge=25)
    # What is spoken in recordings that say no "language", for a checkpoint that is told it: de, or German.
    language: str | None = None
    max_ratio: float | None = Field(default=None, gt=1)  # longest side over shortest, in tokens
    limit: int | None = Field(default=None, ge=1)  # training examples that are kept, chosen by a hash; absent: all
    # An epoch has rows of a corpus, or of a direction of a builder's, in proportion to (weight * examples)**(1 /
    # temperature); absent: each row once.
    temperature: float | None = Field(default=None, ge=1)
    curriculum: CurriculumConfig | None = None  # short examples first
    workers: int | None = Field(default=None, ge=1)  # processes that tokenise; absent: one a core, 8 at most

    @model_validator(mode="after")
    def _some_data(self) -> Self:
        if bool(self.train) == (self.builder is not None):
            raise ValueError("data needs either builder or train, and not both")
        if self.prompt is not None and self.prompt.count("{source}") != 1:
            raise ValueError(
                f"data.prompt must have {{source}} in it once, where a source stands, but is {self.prompt!r}"
            )
        beside = self.changed("validation", "test")
        if self.temperature is not None and self.builder is None and len(self.train) < 2:
            raise ValueError(f"data.temperature mixes corpora, but data.train has {len(self.train)}: leave it out")
        if self.builder is not None and beside is not None:
            raise ValueError(f"data.{beside} cannot stand beside data.builder, which brings its own: leave it out")
        return self


class AugmentationConfig(Section):
    """How training images and recordings are varied: anew each epoch, by a hash of seed, epoch and example."""

    crop_padding: int = Field(default=0, ge=0)  # pixels of black on each side, of which a random crop is taken
    flip: bool = False  # half of them are mirrored, left to right
    turn: float = Field(default=0.0, ge=0, le=180)  # degrees by which they are turned, at most, either way
    zoom: float = Field(default=0.0, ge=0, le=1)  # they become up to 1 + zoom times as large, or as small
    outline: float = Field(default=0.0, ge=0, le=1)  # the share of them that get dark edges and paler colours
    colour: float = Field(default=0.0, ge=0, le=1)  # brightness, contrast and saturation change by up to this share
    hue: float = Field(default=0.0, ge=0, le=180)  # degrees by which hues are turned, at most, either way
    grey: float = Field(default=0.0, ge=0, le=1)  # the share of them that lose their colours
    erase: float = Field(default=0.0, ge=0, le=1)  # the share of which a random rectangle becomes noise
    level: float = Field(default=0.0, ge=0, le=40)  # decibels by which recordings become louder or softer, at most
    room: float = Field(default=0.0, ge=0, le=1)  # the share of them that get echoes,
    noise: float = Field(default=0.0, ge=0, le=1)  # noise, 5 to 30 decibels below the sound,
    band: float = Field(default=0.0, ge=0, le=1)  # or lose what is below 50 to 300 hz and above 3 to 7 khz
    frequency_masks: int = Field(default=0, ge=0, le=16)  # SpecAugment's: bands of mels in each recording,
    frequency_mask: int = Field(default=15, ge=1)  # the widest one
    time_masks: int = Field(default=0, ge=0, le=16)  # and stretches of frames,
    time_mask: int = Field(default=50, ge=1)  # the longest one, which takes a fifth of the recording at most


class ObjectiveConfig(Section):
    """What a model learns from its examples, as far as the task leaves a choice."""

    problem: Problem = "single_label"  # classify: one label of several, any number of labels, or a number
    rate: float = Field(default=0.15, gt=0, lt=1)  # masked and span-corruption: the share of the tokens that is hidden
    whole_words: bool = False  # masked-language-model: all tokens of a word are hidden together
    mean_span: float = Field(default=3.0, ge=1)  # span-corruption: tokens in a row that are hidden, on average
    stride: int | None = Field(default=None, ge=0)  # tag, answer: tokens that neighbouring windows share; absent: 1/4
    temperature: float = Field(default=0.05, gt=0)  # embed: what cosines are divided by before they compete


class TokenizerConfig(Section):
    """The tokenizer of all texts: trained, or an existing one."""

    algorithm: Literal["bpe", "unigram"] = "bpe"  # byte-level BPE, or Unigram
    vocab_size: int = Field(default=8000, ge=300)  # special tokens included
    normalizer: Literal["none", "nfc", "nfkc"] = "nfc"  # Unicode's forms, to which texts are brought first
    coverage: float = Field(default=1.0, gt=0, le=1)  # share of the characters seen that get a token (unigram)
    path: str | None = None  # an existing tokenizer.json instead of training one

    @model_validator(mode="after")
    def _path_alone(self) -> Self:
        beside = self.changed("algorithm", "vocab_size", "normalizer", "coverage")
        if self.path is not None and beside is not None:
            raise ValueError(
                f"tokenizer.{beside} is for training a tokenizer, but tokenizer.path gives one: leave it out"
            )
        return self


DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")


class ModelConfig(Section):
    """The network: a preset and what differs from it, or a checkpoint to go on from, with other dropouts at most."""

    preset: str | None = None  # absent: the task's own, unless `from` names a checkpoint
    from_: str | None = Field(default=None, alias="from")  # a model directory, a packaged model, or a hub id
    norm_order: Literal["pre", "post"] | None = None  # layer norms before the sublayers, or after the residual sums
    width: int | None = Field(default=None, ge=2)  # of the tokens' vectors
    heads: int | None = Field(default=None, ge=1)  # of each attention; they share the width
    ffn_width: int | None = Field(default=None, ge=1)  # of the feed-forward's hidden layer
    depth: int | None = Field(default=None, ge=1)  # layers of an encoder or a decoder alone
    encoder_depth: int | None = Field(default=None, ge=1)  # layers, where there are both sides
    decoder_depth: int | None = Field(default=None, ge=1)  # the same of the decoder
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] | None = None  # of the feed-forward
    patch_size: int | None = Field(default=None, ge=1)  # of images: pixels a side
    # Of embeddings and of what sublayers add; beside `from`, this and the two below take the place of the checkpoint's.
    dropout: float | None = Field(default=None, ge=0, lt=1)
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)  # of attention's weights
    activation_dropout: float | None = Field(default=None, ge=0, lt=1)  # of the feed-forward's hidden layer
    max_positions: int | None = Field(default=None, ge=2)  # the longest text, in tokens; data.max_tokens is within it

    @model_validator(mode="after")
    def _from_alone(self) -> Self:
        beside = self.changed(*(name for name in type(self).model_fields if name not in ("from_", *DROPOUTS)))
        if self.from_ is not None and beside is not None:
            raise ValueError(f"model.{beside} is for a new network, but model.from names a checkpoint: leave it out")
        return self

    def overrides(self) -> dict[str, Any]:
        """What the run file sets beside the preset."""
        return self.model_dump(exclude={"preset", "from_"}, exclude_none=True)

    def dropouts(self) -> dict[str, float]:
        """Those that the run file sets."""
        return self.model_dump(include=set(DROPOUTS), exclude_none=True)


def _batch_size(value: Any) -> Any:
    if value == "auto" or (type(value) is int and value >= 1):
        return value
    raise ValueError('should be a number from 1, or "auto"')


BatchSize = Annotated[int | Literal["auto"], BeforeValidator(_batch_size)]  # one complaint, not one a kind


class TrainingConfig(Section):
    """How long, how fast, how careful. A budget is needed: steps, epochs or minutes; the first one met ends the run."""

    steps: int | None = Field(default=None, ge=1)  # optimizer updates
    epochs: int | None = Field(default=None, ge=1)  # times through the data
    minutes: float | None = Field(default=None, gt=0)  # wall-clock, summed over resumes
    # Of one micro-batch, over all replicas: rows * longest side, padding included; of images and recordings, how many.
    # auto: as many as the memory holds, found once, before the first step.
    batch_tokens: BatchSize = 4096
    batch_images: BatchSize = 128  # in place of batch_tokens
    batch_recordings: BatchSize = 32  # in place of batch_tokens
    accumulation: int = Field(default=1, ge=1)  # micro-batches a step
    # Pieces of a step that are computed at the same time, each by a thread: micro-batches, or shares of the rows of
    # one, which takes their memory at once. Of one device alone. auto: 2 on a processor of two cores, else 1.
    streams: BatchSize = "auto"
    optimizer: OptimizerConfig = OptimizerConfig()  # how the gradient becomes an update
    schedule: ScheduleConfig = ScheduleConfig()  # the learning rate by step
    freeze: tuple[str, ...] = Field(default=(), strict=False)  # patterns of weight paths that are not trained
    ema: float | None = Field(default=None, gt=0, lt=1)  # decay by step of an average of the weights, kept beside them
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)  # the share of the target that all tokens get alike
    clip_norm: float = Field(default=1.0, ge=0)  # the greatest global norm of the mean loss's gradient; 0: any
    remat: bool = False  # compute what is inside a layer again in the backward pass: less memory, more time
    dtype: Literal["auto", "float32", "mixed_bfloat16"] = "auto"  # auto: bfloat16 where what trains has it
    log_every: int = Field(default=50, ge=1)  # steps
    validate_every: int = Field(default=500, ge=1)  # steps; a checkpoint is written then
    # Steps after which a checkpoint is written without validation, too, in place of the last such one; absent: none.
    save_every: int | None = Field(default=None, ge=1)
    score_examples: int = Field(default=200, ge=0)  # validation examples translated for BLEU and chrF; 0: none
    best: str = "loss"  # what the best checkpoint is best at, on validation: loss, or a score of the task
    patience: int | None = Field(default=None, ge=1)  # validations without a new best before the run ends
    keep_last: int = Field(default=3, ge=1)  # checkpoints
    keep_best: int = Field(default=1, ge=1)  # checkpoints beside them
    # The model written at the end: the best checkpoint; the mean of these; or the best by its moving average, which is
    # validated then.
    average: Literal["none", "last", "best", "ema"] = "none"
    max_bad_steps: int = Field(default=10, ge=1)  # skipped steps in a row before a rollback to the last good checkpoint
    max_rollbacks: int = Field(default=3, ge=0)  # of a run; where one more would be needed, it ends with an error
    spike_deviations: float | None = Field(default=None, gt=0)  # skip steps with a loss so far above the running mean
    deterministic: bool = False  # on a GPU: operations that are to give equal bits each time; a CPU's do anyway
    tensorboard: bool = False  # write the curves for it too (extra `tensorboard`)

    @model_validator(mode="after")
    def _checks(self) -> Self:
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("training needs a budget: steps, epochs or minutes")
        if self.schedule.ends and self.steps is None and self.epochs is None:
            raise ValueError(
                f"the {self.schedule.name} schedule needs training.steps or training.epochs to know where it ends"
            )
        falling = self.schedule.warmup_steps + (self.schedule.decay_steps or 0)
        if self.schedule.decay_steps is not None and self.steps is not None and falling > self.steps:
            raise ValueError(f"schedule.warmup_steps + decay_steps must be at most training.steps, but is {falling}")
        if self.average == "ema" and self.ema is None:
            raise ValueError("training.average = 'ema' needs training.ema, the decay of that average")
        return self


class NgramsConfig(Section):
    """Which words follow which, counted in the training texts: what frames are searched with (docs/speech.md)."""

    order: int = Field(default=0, ge=0, le=6)  # words of an n-gram; 0: none are counted, the likeliest path is the text
    num_beams: int = Field(default=16, ge=1)  # beginnings kept side by side
    alpha: float = Field(default=0.5, ge=0)  # what a word's log-probability counts, beside that of its sound
    beta: float = 1.0  # nats that each word adds: without them few long words win over many short ones


class DecodingConfig(Section):
    """How validation, evaluation and `translate` search by default; written to generation_config.json."""

    num_beams: int = Field(default=4, ge=1)  # beginnings kept side by side; 1: greedy
    length_penalty: float = 0.6  # the exponent: 0 prefers short texts, 1 is nearly the mean of a token
    length_penalty_form: Literal["transformers", "gnmt"] = "gnmt"  # |y|^a, or Wu et al.'s ((5 + |y|) / 6)^a
    max_new_tokens: int = Field(default=128, ge=1)  # the longest text that is written
