"""Run files: TOML -> a checked `RunConfig`. Unknown keys are errors that name the nearest known one.

Precedence: the file, then each `--set a.b=c`. `to_toml` writes the resolved run back, so that a run directory says
what it was made with.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from regard.errors import ConfigError


class Section(BaseModel):
    """A table of a run file: frozen, every key known, every value of its own type (a whole number is a float too)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def changed(self, *names: str) -> str | None:
        """The first of these keys that is not at its default."""
        return next((name for name in names if getattr(self, name) != type(self).model_fields[name].default), None)


class CorpusConfig(Section):
    """One corpus: two aligned files, a TSV, or JSON Lines; plain or .gz, globs allowed, `-` is stdin."""

    source: str | None = None  # with target: aligned files, one sentence a line
    target: str | None = None
    tsv: str | None = None  # source TAB target [TAB source language TAB target language]
    jsonl: str | None = None  # objects with "source", "target" and optionally "source_lang", "target_lang"
    source_lang: str | None = None
    target_lang: str | None = None
    weight: float = Field(default=1.0, gt=0)  # how often an epoch repeats it: 2.0 twice, 0.5 a fixed half

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.source is not None or self.target is not None, self.tsv is not None, self.jsonl is not None]
        if sum(kinds) != 1:
            raise ValueError("a corpus is either source + target, or tsv, or jsonl: give exactly one")
        if (self.source is None) != (self.target is None):
            raise ValueError("source and target belong together: give both")
        return self


class DataConfig(Section):
    """Where the examples come from, and which are kept."""

    builder: str | None = None  # a data set of regard.corpora ("demo", "debian-en-de", ...) instead of files
    train: tuple[CorpusConfig, ...] = Field(default=(), strict=False)  # TOML's arrays are lists
    validation: tuple[CorpusConfig, ...] = Field(default=(), strict=False)
    test: tuple[CorpusConfig, ...] = Field(default=(), strict=False)
    language_tags: bool = False  # begin each source with its target language, >>de<<, as Marian does
    max_tokens: int = Field(default=128, ge=2)  # pairs with a longer side are dropped, and counted
    max_ratio: float | None = Field(default=None, gt=1)  # longest side over shortest, in tokens
    workers: int | None = Field(default=None, ge=1)  # processes that tokenise; absent: one a core, 8 at most

    @model_validator(mode="after")
    def _some_data(self) -> Self:
        if bool(self.train) == (self.builder is not None):
            raise ValueError("data needs either builder or train, and not both")
        beside = self.changed("validation", "test")
        if self.builder is not None and beside is not None:
            raise ValueError(f"data.{beside} cannot stand beside data.builder, which brings its own: leave it out")
        return self


class TokenizerConfig(Section):
    """The joint tokenizer of source and target."""

    algorithm: Literal["bpe", "unigram"] = "bpe"  # byte-level BPE, or Unigram
    vocab_size: int = Field(default=8000, ge=300)  # special tokens included
    normalizer: Literal["none", "nfc", "nfkc"] = "nfc"
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


class ModelConfig(Section):
    """The network: a preset of the original Transformer, and what differs from it."""

    preset: str = "base"
    norm_order: Literal["pre", "post"] | None = None
    width: int | None = Field(default=None, ge=2)
    heads: int | None = Field(default=None, ge=1)
    ffn_width: int | None = Field(default=None, ge=1)
    encoder_depth: int | None = Field(default=None, ge=1)
    decoder_depth: int | None = Field(default=None, ge=1)
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    activation_dropout: float | None = Field(default=None, ge=0, lt=1)
    max_positions: int | None = Field(default=None, ge=2)

    def overrides(self) -> dict[str, Any]:
        """What the run file sets beside the preset."""
        return self.model_dump(exclude={"preset"}, exclude_none=True)


class OptimizerConfig(Section):
    name: Literal["adam", "adamw"] = "adam"
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.98, ge=0, lt=1)
    epsilon: float = Field(default=1e-9, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)  # adamw; never on norms and biases

    @model_validator(mode="after")
    def _decay_of_adamw(self) -> Self:
        if self.name == "adam" and self.weight_decay:
            raise ValueError("optimizer.weight_decay is for adamw, but optimizer.name is 'adam'")
        return self


class ScheduleConfig(Section):
    """The learning rate by update (Vaswani et al. 2017, section 5.3, is `paper`)."""

    name: Literal["paper", "inverse_sqrt", "cosine", "linear", "constant"] = "paper"
    warmup_steps: int = Field(default=4000, ge=0)
    peak: float | None = Field(default=None, gt=0)  # the highest rate; `paper` derives its own: (width * warmup)**-0.5
    scale: float = Field(default=1.0, gt=0)  # multiplies the schedule
    final: float = Field(default=0.0, ge=0)  # cosine and linear end here

    @model_validator(mode="after")
    def _peak_where_needed(self) -> Self:
        if (self.name == "paper") != (self.peak is None):
            raise ValueError("schedule.peak is given for every schedule but paper, which derives it from the width")
        if self.name in ("paper", "inverse_sqrt") and self.warmup_steps < 1:
            raise ValueError(f"schedule.warmup_steps must be at least 1 for {self.name}, but is 0")
        if self.name not in ("cosine", "linear") and self.final:
            raise ValueError(f"schedule.final is for cosine and linear, but schedule.name is {self.name!r}")
        return self


class TrainingConfig(Section):
    """How long, how fast, how careful. A budget is needed: steps, epochs or minutes; the first one met ends the run."""

    steps: int | None = Field(default=None, ge=1)  # optimizer updates
    epochs: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)  # wall-clock, summed over resumes
    batch_tokens: int = Field(default=4096, ge=1)  # of one micro-batch: rows * longest side, padding included
    accumulation: int = Field(default=1, ge=1)  # micro-batches a step
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float | None = Field(default=1.0, gt=0)  # global norm of the gradient of the mean loss
    dtype: Literal["auto", "float32", "mixed_bfloat16"] = "auto"  # auto: bfloat16 where the processor multiplies it
    log_every: int = Field(default=50, ge=1)  # steps
    validate_every: int = Field(default=500, ge=1)  # steps; a checkpoint is written then
    score_examples: int = Field(default=200, ge=0)  # validation examples translated for BLEU and chrF; 0: none
    best: Literal["loss", "bleu", "chrf"] = "loss"  # what the best checkpoint is best at, on validation
    patience: int | None = Field(default=None, ge=1)  # validations without a new best before the run ends
    keep_last: int = Field(default=3, ge=1)  # checkpoints
    keep_best: int = Field(default=1, ge=1)
    average: Literal["none", "last", "best"] = "none"  # the model written at the end is the mean of these checkpoints
    max_bad_steps: int = Field(default=10, ge=1)  # non-finite steps in a row before the run stops
    tensorboard: bool = False

    @model_validator(mode="after")
    def _checks(self) -> Self:
        if self.steps is None and self.epochs is None and self.minutes is None:
            raise ValueError("training needs a budget: steps, epochs or minutes")
        if self.schedule.name in ("cosine", "linear") and self.steps is None:
            raise ValueError(f"the {self.schedule.name} schedule needs training.steps to know where it ends")
        if self.best != "loss" and self.score_examples == 0:
            raise ValueError(f"training.best = {self.best!r} needs training.score_examples above 0")
        return self


class DecodingConfig(Section):
    """How validation, evaluation and `translate` search by default; written to generation_config.json."""

    num_beams: int = Field(default=4, ge=1)
    length_penalty: float = 0.6
    length_penalty_form: Literal["transformers", "gnmt"] = "gnmt"
    max_new_tokens: int = Field(default=128, ge=1)


class RunConfig(Section):
    """A whole run: data + model + training."""

    task: Literal["translate"] = "translate"
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig
    decoding: DecodingConfig = DecodingConfig()


def load_run(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file and apply `a.b=c` overrides, whose right side is a TOML value or a bare string."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the run file {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for override in overrides:
        _apply_override(values, override)
    return parse_run(values, origin=str(path))


def parse_run(values: Mapping[str, Any], origin: str = "run") -> RunConfig:
    """Check a nested mapping against `RunConfig`; every complaint names the key's whole path."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        complaints = [_explain(entry) for entry in error.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(complaints)) from None


def _apply_override(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set wants key.path=value, but got {override!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, last = path.strip().split(".")
    table = values
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override}: {name} is not a table")
    table[last] = value


def _explain(entry: Any) -> str:
    location = [part for part in entry["loc"] if part != "__root__"]
    path = ".".join(str(part) for part in location)
    if entry["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {path}: {hint}"
    if entry["type"] == "missing":
        return f"{path} is missing"
    message = entry["msg"].removeprefix("Value error, ").replace("Input should", "should")
    shown = "" if isinstance(entry["input"], dict) else f" (is {entry['input']!r})"
    return f"{path}: {message}{shown}" if path else f"{message}{shown}"


def _known_keys(location: Iterable[Any]) -> list[str]:
    section: type[BaseModel] = RunConfig
    for name in location:
        if isinstance(name, int):
            continue
        annotation = section.model_fields[name].annotation
        arguments = getattr(annotation, "__args__", (annotation,))
        section = next(kind for kind in arguments if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(section.model_fields)


def to_toml(run: RunConfig) -> str:
    """The resolved run as TOML; `parse_run(tomllib.loads(to_toml(run))) == run`."""
    return "\n".join(_toml_lines(run.model_dump(exclude_none=True), ())) + "\n"


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{key} = {_toml_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    if path and lines:
        lines.insert(0, f"\n[{'.'.join(path)}]")
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _toml_lines(value, (*path, key))
    return lines


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_toml_character(character) for character in value) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml_value(entry)}" for key, entry in value.items()) + " }"
    return repr(value)


def _toml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
