"""A lexical shortlist on OpenVINO: once a batch the output layer of its tokens alone, which each step then reads."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from regard.decoding.lexical_shortlist import LexicalShortlist
from regard.export.openvino_graphs import OFFERED
from regard.export.openvino_request import Request


class Offered(NamedTuple):
    """The tokens of a batch, C of them, in place of the vocabulary."""

    tokens: np.ndarray  # (C,) int32, rising; those that only fill up repeat the last one
    known: int  # how many, without those
    rows: np.ndarray  # (C, D) float32: of the output layer

    def ids(self, places: np.ndarray) -> np.ndarray:
        """Places among the tokens -> ids of the vocabulary."""
        found: np.ndarray = self.tokens[places]
        return found

    def places(self, ids: Sequence[int]) -> np.ndarray:
        """Where those of `ids` that are offered stand."""
        return np.flatnonzero(np.isin(self.tokens, ids))

    def of_all(self, logits: np.ndarray, vocab_size: int) -> np.ndarray:
        """(R, C) -> (R, V): -inf for what is not offered."""
        whole = np.full((len(logits), vocab_size), -np.inf, np.float32)
        whole[:, self.tokens[: self.known]] = logits[:, : self.known]
        return whole


class OutputLayer:
    """The output layer, for the tokens that a shortlist has for a batch."""

    def __init__(self, request: Request, shortlist: LexicalShortlist) -> None:
        self.request, self.shortlist = request, shortlist

    def of_batch(
        self, ids: np.ndarray, real: np.ndarray, always: Sequence[int], least: int
    ) -> tuple[Offered, np.ndarray]:
        """For sources (B, S): what is offered, at least `least` places of it, and what each text's logits gain,
        (B, 1, C): the output layer's bias, -inf for what is not that text's."""
        tokens, allowed = self.shortlist.of_rows(ids, real, always)
        count = len(tokens)
        filling = -max(count, least) % OFFERED + max(least - count, 0)
        tokens = np.pad(tokens, (0, filling), mode="edge")
        self.request.run({"tokens": tokens})
        rows, bias = (self.request.result(name).copy() for name in ("output_rows", "output_bias"))
        gains = np.where(np.pad(allowed, ((0, 0), (0, filling))), bias, np.float32(-np.inf))
        return Offered(tokens, count, rows), gains[:, None]
