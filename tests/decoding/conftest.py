"""A scripted model: the logits of a prefix come from a table, so that naive searches can ask for them too."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from regard.decoding import numpy_ops
from regard.decoding.loop import search
from regard.decoding.options import Generation, GenerationOptions

START = 1
STATES = 997


@dataclass(frozen=True)
class Scripted:
    """`rows` name the inputs of a batch: equal rows get equal logits."""

    rows: tuple[int, ...]
    vocab_size: int
    seed: int
    spread: float = 1.5

    @property
    def table(self) -> np.ndarray:
        shape = (STATES, self.vocab_size)
        return (np.random.default_rng(self.seed).standard_normal(shape) * self.spread).astype("float32")

    def only(self, *rows: int) -> "Scripted":
        return replace(self, rows=rows)

    def start(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """start_ids (B, W), and the state: the number of the table's row that each beam stands at."""
        codes = np.repeat(np.array(self.rows, "int32")[:, None], width, axis=1)
        return np.full_like(codes, START), codes

    def step(self, ops: ModuleType) -> Callable[..., tuple[Any, Any]]:
        table = self.table

        def step(ids: Any, parents: Any, codes: Any) -> tuple[Any, Any]:
            codes = (ops.take_along_axis(codes, parents, axis=1) * 31 + ids + 7) % STATES
            return ops.take(table, codes, axis=0), codes

        return step

    def logits(self, row: int, prefix: Sequence[int]) -> np.ndarray:
        code = row
        for token in (START, *prefix):
            code = (code * 31 + token + 7) % STATES
        return self.table[code]

    def log_probs(self, row: int, prefix: Sequence[int]) -> np.ndarray:
        logits = self.logits(row, prefix).astype("float64")
        return logits - np.log(np.exp(logits).sum())

    def score(self, row: int, sequence: Sequence[int]) -> float:
        return sum(self.log_probs(row, sequence[:t])[token] for t, token in enumerate(sequence))

    def sequences(self, options: GenerationOptions) -> Iterator[tuple[int, ...]]:
        """All that could be generated: those that end in eos, and those cut at max_new_tokens."""
        going_on = [token for token in range(self.vocab_size) if token not in options.eos_ids]
        for length in range(options.max_new_tokens):
            last = range(self.vocab_size) if length == options.max_new_tokens - 1 else options.eos_ids
            yield from ((*body, end) for body in itertools.product(going_on, repeat=length) for end in last)

    def search(self, options: GenerationOptions, **arguments: Any) -> Generation:
        start_ids, codes = self.start(options.width)
        return search(self.step(numpy_ops), codes, start_ids, options, numpy_ops, **arguments)


def divisor(length: int, options: GenerationOptions) -> float:
    base = (5 + length) / 6 if options.length_penalty_form == "gnmt" else length
    return float(base**options.length_penalty)


def hypotheses(found: Generation, row: int) -> list[tuple[int, ...]]:
    return [tuple(ids[:length].tolist()) for ids, length in zip(found.sequences[row], found.lengths[row], strict=True)]


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def divide() -> Callable[[int, GenerationOptions], float]:
    return divisor


@pytest.fixture(scope="session")
def found_in() -> Callable[[Generation, int], list[tuple[int, ...]]]:
    return hypotheses
