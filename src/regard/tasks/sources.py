"""The ids of sources through an encoder-decoder's search, in batches by length."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from regard.batch import Batch
from regard.data.batching import batches_by_length
from regard.decoding.options import GenerationOptions
from regard.features.tokenizer import Tokenizer
from regard.specs import ModelSpec
from regard.tasks.hypotheses import Hypothesis, Writer, hypotheses


def most_source_tokens(spec: ModelSpec) -> int | None:
    """The longest source, special tokens included; None: no bound, as with relative positions."""
    positions = spec.text.positions
    return None if positions.kind == "none" else positions.max_positions


def written(
    engine: Writer,
    tokenizer: Tokenizer,
    sources: Sequence[Sequence[int]],
    options: GenerationOptions,
    *,
    batch_tokens: int,
    seeds: Sequence[int] | None = None,
    start: int | None = None,
) -> list[list[Hypothesis]]:
    """The hypotheses of each source, best first.

    batch_tokens: rows * longest row of a batch are at most so many, or it is one row. seeds: one a source; None: the
    options'. start: what the decoder reads first, where it is not the model's own.
    """
    found: list[list[Hypothesis]] = [[] for _ in sources]
    for rows in batches_by_length([len(ids) for ids in sources], batch_tokens):
        own = options if seeds is None else replace(options, seed=tuple(seeds[row] for row in rows))
        batch = _batch([sources[row] for row in rows], engine.spec.text.pad_id or 0, start)
        generation = engine.generate(batch, own)
        for place, row in enumerate(rows):
            found[row] = hypotheses(generation, place, tokenizer, own)
    return found


def _batch(rows: Sequence[Sequence[int]], pad: int, start: int | None) -> Batch:
    """Padded on the right."""
    input_ids = np.full((len(rows), max(map(len, rows))), pad, np.int32)
    attention_mask = np.zeros_like(input_ids)
    for place, ids in enumerate(rows):
        input_ids[place, : len(ids)] = ids
        attention_mask[place, : len(ids)] = 1
    batch: Batch = {"input_ids": input_ids, "attention_mask": attention_mask}
    return batch if start is None else {**batch, "decoder_input_ids": np.full((len(rows), 1), start, np.int32)}
