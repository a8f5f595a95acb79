"""The embedding task: a text -> a vector, near to those of texts that mean the same (Reimers and Gurevych 2019)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from regard.errors import CheckpointError, InputError
from regard.features.encoding import Encoding
from regard.features.tokenizer import Tokenizer
from regard.interop.directory import read_json
from regard.tasks.reading import BATCH_TOKENS, Reader, most_tokens, outputs
from regard.tasks.sentence_modules import Array, Module, mean, unit

Texts = str | Sequence[str]

SENTENCE_CONFIG, DEFAULTS = "sentence_bert_config.json", "config_sentence_transformers.json"


@dataclass(frozen=True, eq=False)
class Embedding:
    """vector: (E,) float32. tokens: how many were read, special ones included. cut: how many were left out, since the
    model reads no more."""

    vector: Array
    tokens: int
    cut: int = 0

    def as_json(self) -> dict[str, Any]:
        return {"embedding": self.vector.tolist(), "tokens": self.tokens, "cut": self.cut}


def _cosine(a: Array, b: Array) -> Array:
    return unit(a) @ unit(b).T


def _euclidean(a: Array, b: Array) -> Array:
    return -np.linalg.norm(a[:, None] - b[None], axis=-1)


def _manhattan(a: Array, b: Array) -> Array:
    return -np.abs(a[:, None] - b[None]).sum(-1)


SIMILARITIES: dict[str, Callable[[Array, Array], Array]] = {
    "cosine": _cosine,
    "dot": lambda a, b: a @ b.T,
    "euclidean": _euclidean,  # negative: higher is nearer
    "manhattan": _manhattan,
}


class Habits(NamedTuple):
    """What a sentence-transformers directory says of the texts and of their comparison."""

    lower_case: bool = False
    prompts: Mapping[str, str] = {}  # name -> what is put before a text
    default_prompt: str | None = None
    similarity: str = "cosine"


def read_habits(directory: Path, encoder: Path) -> Habits:
    """Raises CheckpointError for a comparison that is not known, and a default prompt that is not there."""
    values = read_json(directory, DEFAULTS)
    similarity, prompts = values.get("similarity_fn_name") or "cosine", values.get("prompts") or {}
    if similarity not in SIMILARITIES:
        known = ", ".join(SIMILARITIES)
        raise CheckpointError(f"{directory / DEFAULTS}: unknown similarity_fn_name {similarity!r}: known are {known}")
    default = values.get("default_prompt_name")
    if not isinstance(prompts, dict) or (default is not None and default not in prompts):
        raise CheckpointError(f"{directory / DEFAULTS}: prompts must be an object with {default!r} in it")
    lower_case = bool(read_json(encoder, SENTENCE_CONFIG).get("do_lower_case"))
    return Habits(lower_case, {str(name): str(prompt) for name, prompt in prompts.items()}, default, similarity)


class Embedder:
    """An encoder with its tokenizer, and what is done to its hidden states: `embedder("text")`, or a list of texts.

    A plain encoder's vector is the mean over its tokens. The vector of a text depends on neither the padding nor the
    other texts, to within rounding.
    """

    def __init__(
        self, engine: Reader, tokenizer: Tokenizer, after: Sequence[Module] = (mean,), habits: Habits | None = None
    ) -> None:
        self.engine, self.tokenizer = engine, tokenizer
        self.after, self.habits = tuple(after), habits or Habits()
        self.max_length = most_tokens(engine.spec, tokenizer)

    @overload
    def __call__(self, texts: str, **settings: Any) -> Embedding: ...

    @overload
    def __call__(self, texts: Sequence[str], **settings: Any) -> list[Embedding]: ...

    def __call__(self, texts: Texts, **settings: Any) -> Embedding | list[Embedding]:
        """A text -> its `Embedding`; a sequence -> a list of them. `settings` are those of `embed`."""
        return self.embed([texts], **settings)[0] if isinstance(texts, str) else self.embed(texts, **settings)

    def embed(
        self, texts: Sequence[str], *, prompt: str | None = None, batch_tokens: int = BATCH_TOKENS
    ) -> list[Embedding]:
        """The embeddings of the texts, in their order.

        prompt: the name of one of the checkpoint's prompts, which is put before each text; default: the checkpoint's
        own, if it has one. Texts longer than `max_length` tokens are cut, and `Embedding.cut` says by how many. Raises
        InputError for a prompt that the checkpoint does not have.
        """
        encodings = self._encodings(texts, prompt)
        found: list[Embedding | None] = [None] * len(encodings)
        for rows, output in outputs(self.engine, encodings, batch_tokens):
            hidden = np.asarray(output.last_hidden_state, np.float32)
            for place, row in enumerate(rows):
                length = len(encodings[row].ids)
                found[row] = Embedding(self._vector(hidden[place, :length]), length, encodings[row].cut)
        return [embedding for embedding in found if embedding is not None]

    def vectors(self, texts: Sequence[str], **settings: Any) -> Array:
        """(N, E) float32, a row a text; `settings` are those of a call."""
        if not texts:
            raise InputError("there is nothing to embed: no texts")
        return np.stack([embedding.vector for embedding in self.embed(texts, **settings)])

    def similarity(self, a: Texts, b: Texts) -> Any:
        """How near two texts are: a float; or each of N texts to each of M: (N, M) float32. Higher is nearer: the
        cosine, in -1 to 1, if the checkpoint does not say another measure."""
        if isinstance(a, str) and isinstance(b, str):
            return float(self.compare(self.vectors([a]), self.vectors([b]))[0, 0])
        first, second = ([texts] if isinstance(texts, str) else list(texts) for texts in (a, b))
        both = self.vectors([*first, *second])
        return self.compare(both[: len(first)], both[len(first) :])

    def compare(self, a: Array, b: Array) -> Array:
        """`similarity` of vectors: (N, E), (M, E) -> (N, M)."""
        return SIMILARITIES[self.habits.similarity](a, b)

    def _encodings(self, texts: Sequence[str], prompt: str | None) -> list[Encoding]:
        before = self._prompt(prompt)
        whole = [before + text for text in texts]
        if self.habits.lower_case:
            whole = [text.lower() for text in whole]
        return [self.tokenizer.encode_text(text, max_length=self.max_length) for text in whole]

    def _prompt(self, name: str | None) -> str:
        name = self.habits.default_prompt if name is None else name
        if name is None:
            return ""
        if name not in self.habits.prompts:
            known = ", ".join(self.habits.prompts) or "none"
            raise InputError(f"the model has no prompt {name!r}: it has {known}")
        return self.habits.prompts[name]

    def _vector(self, hidden: Array) -> Array:
        """(S, D) -> (E,)"""
        for module in self.after:
            hidden = module(hidden)
        return hidden
