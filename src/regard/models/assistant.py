"""What guesses ahead of a search: the text itself, or a smaller model; for every engine."""

from typing import Protocol

import numpy as np

from regard.decoding.lookahead import Ahead, Guesser, of_the_text
from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError
from regard.models.inputs import source_keys
from regard.specs import ModelSpec

Arrays = dict[str, np.ndarray]


class Assistant(Protocol):
    """A smaller model, on whichever engine."""

    spec: ModelSpec

    def draft(self, given: Arrays, options: GenerationOptions) -> Guesser:
        """Its guesses for one search over a prepared batch."""
        ...


def check_assistant(spec: ModelSpec, other: ModelSpec) -> None:
    """Raise ConfigError where a model cannot be the assistant of the one of `spec`."""
    if (spec.form, source_keys(spec)) != (other.form, source_keys(other)):
        raise ConfigError(
            f"assistant_model must be of the model's form and source ({spec.form}), but is {other.form} "
            f"of {', '.join(source_keys(other))}"
        )
    ours, theirs = spec.text.vocab_size, other.text.vocab_size
    if ours != theirs:
        raise ConfigError(f"assistant_model must have the model's vocabulary ({ours}), but has {theirs}")


def guesser_of(
    spec: ModelSpec, given: Arrays, options: GenerationOptions, assistant: Assistant | None
) -> tuple[Guesser | None, int]:
    """What guesses for a model's search over a prepared batch, and how many tokens at once; None where nothing does."""
    if assistant is None:
        count = options.prompt_lookup_num_tokens
        return (of_the_text if count else None), count
    if options.prompt_lookup_num_tokens:
        raise ConfigError("assistant_model and prompt_lookup_num_tokens both guess: give one of them")
    options.check_one_hypothesis("assistant_model")
    check_assistant(spec, assistant.spec)
    return assistant.draft(given, options), options.num_assistant_tokens


def texts_ahead(ids: np.ndarray, real: np.ndarray, unread: int = 0) -> tuple[Ahead, ...]:
    """The texts (B, P), where they are real, but for the last `unread` tokens of each, which the search gives first."""
    texts = [row[mask != 0].tolist() for row, mask in zip(ids, real, strict=True)]
    return tuple(Ahead(row, text[: len(text) - unread], [], [], []) for row, text in enumerate(texts))
