"""A case: which tiny checkpoint to make, and what to ask of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import transformers

Form = Literal["encoder", "decoder", "encoder-decoder", "audio", "image", "captioning", "pair"]
Model = Any  # a torch module of Transformers
Arrays = dict[str, np.ndarray]  # inputs or outputs by Regard's keys, in Regard's layouts

TOKEN_HEADS = ("bare", "masked-lm", "token-class", "question-answering", "language-model", "seq2seq")


class Unfit(Exception):
    """These random weights make a poor case; others may do."""


@dataclass(frozen=True)
class Randomness:
    """How large the random parameters are. The activations should be small enough for a norm's epsilon to show, and
    the logits large enough for a search to have clear winners."""

    gain: float = 1.3  # a projection's standard deviation times the square root of what it reads
    embedding: float = 0.3  # the standard deviation of an embedding's entries
    table: float | None = None  # that of the token table; None: as the others
    head: float = 1.3  # gain of an output head that is not tied
    eos: float = 1.0  # factor of the row that predicts eos


@dataclass(frozen=True)
class Case:
    """`architecture` is the name of a Transformers class and `config` what its configuration class is called with."""

    name: str
    family: str
    head: str
    form: Form
    architecture: str
    config: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)  # of the class itself, besides its config
    notes: str = ""
    random: Randomness = Randomness()
    suite: str = ""  # which searches to record: see generation.SUITES
    generation_config: Mapping[str, Any] = field(default_factory=dict)  # set before saving
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # besides the suite's
    ordinary: tuple[int, int] = (5, 58)  # the ids that random texts are made of: from, to (excluded)
    labels: str = ""  # how a sequence class is labelled: "single", "multi", "regression"; "none": not at all
    brief: bool = False  # nothing padded is recorded
    hole: bool = True  # one ignored label stands in the middle of the targets
    image: tuple[int, int, int] = (12, 12, 3)  # height, width, channels
    always: Mapping[str, Any] = field(default_factory=dict)  # options of every search
    started: int = 1  # how many ids a decoder with an encoder is given: Whisper has a language, a task, a mode
    pool: Callable[[np.ndarray, np.ndarray, Path], np.ndarray] | None = None  # hidden states, mask -> embeddings
    build: Callable[["Case"], Model] | None = None  # None: architecture(config class(**config), **options)
    prepare: Callable[[Model], None] | None = None  # changes parameters after they were drawn
    edit: Callable[[Path], None] | None = None  # rewrites the saved directory, before it is read back
    record: Callable[[Model, Path, np.random.Generator], dict[str, Arrays]] | None = None  # more calls
    absent: tuple[str, ...] = ()  # beginnings of what the edited file lacks, and nothing reads
    stored: str = "float32"  # the dtype of the file

    @property
    def vocab_size(self) -> int:
        return int(self.config.get("vocab_size", 67))

    @property
    def by_token(self) -> bool:
        """Whether the head's logits are one row a token."""
        return self.head in TOKEN_HEADS

    def model(self) -> Model:
        """The network as Transformers initialises it."""
        if self.build is not None:
            return self.build(self)
        architecture = getattr(transformers, self.architecture)
        return architecture(architecture.config_class(**self.config), **self.options)

    def varied(self, suffix: str, notes: str, config: Mapping[str, Any] | None = None, **changes: Any) -> "Case":
        """This case under the name `name-suffix`, with some entries of its config, and fields, replaced."""
        merged = {**self.config, **(config or {})}
        return replace(self, name=f"{self.name}-{suffix}", notes=notes, config=merged, **changes)


def labelled(count: int) -> dict[str, Any]:
    """The names of `count` labels, as a config has them."""
    names = [f"label-{i}" for i in range(count)]
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
