"""A batch for a model of any form, the same each time: what two implementations are compared on."""

from typing import NamedTuple

import numpy as np

from regard.batch import Batch
from regard.specs import AudioSpec, ModelSpec, PatchSpec
from regard.specs.pair import PairSpec

LENGTHS = (12, 8)  # of the rows' texts, in tokens
TARGET = 6  # tokens that a decoder is given
NEW_TOKENS = 20


class Probe(NamedTuple):
    forward: Batch
    generate: Batch | None  # None: the model generates nothing
    new_tokens: int


def probe(spec: ModelSpec) -> Probe:
    """One batch of two rows for a call, padded on the right, and one to generate from; a decoder's is padded on the
    left, as Transformers' `generate` asks for."""
    rng = np.random.default_rng(0)
    forward = _source(spec, rng)
    if spec.form == "decoder" and spec.output.kind != "language" and spec.tokens.pad is None:
        forward = {key: value[:1] for key, value in forward.items()}  # which token is the last, padding would tell
    if spec.form != "encoder-decoder":
        generates = spec.output.kind == "language"
        room = _room(spec, LENGTHS[0])
        return Probe(forward, _turned(forward) if generates and room > 0 else None, room)
    start = np.full((len(LENGTHS), 1), spec.tokens.decoder_start, np.int32)
    target = np.concatenate([start, _ids(spec, rng, _longest(spec, TARGET + 1) - 1)], axis=1)
    room = _room(spec, 1)
    begin = {**forward, "decoder_input_ids": start} if spec.output.kind == "language" and room > 0 else None
    return Probe({**forward, "decoder_input_ids": target}, begin, room)


def _source(spec: ModelSpec, rng: np.random.Generator) -> Batch:
    batch: Batch = {}
    if isinstance(spec, PairSpec):
        batch |= _pixels(spec.image_side.source, rng)
    if isinstance(spec.source, PatchSpec):
        return batch | _pixels(spec.source, rng)
    if isinstance(spec.source, AudioSpec):
        shape = (len(LENGTHS), 2 * spec.source.positions.max_positions, spec.source.mels)
        return {"input_features": rng.normal(size=shape).astype(np.float32)}
    return batch | _texts(spec, rng)


def _pixels(source: object, rng: np.random.Generator) -> Batch:
    assert isinstance(source, PatchSpec)
    shape = (len(LENGTHS), source.image_height, source.image_width, source.channels)
    return {"pixel_values": rng.normal(size=shape).astype(np.float32)}


def _texts(spec: ModelSpec, rng: np.random.Generator) -> Batch:
    longest = _longest(spec, max(LENGTHS))
    ids = _ids(spec, rng, longest)
    mask = (np.arange(longest) < np.minimum(LENGTHS, longest)[:, None]).astype(np.int32)
    head = spec.output
    if head.kind == "pooled" and head.token is not None and head.token < spec.text.vocab_size:
        ids[np.arange(len(ids)), mask.sum(axis=1) - 1] = head.token
    ids[mask == 0] = spec.tokens.pad or 0
    batch: Batch = {"input_ids": ids, "attention_mask": mask}
    if spec.text.token_types > 1:
        batch["token_type_ids"] = rng.integers(0, 2, ids.shape, np.int32) * mask
    return batch


def _ids(spec: ModelSpec, rng: np.random.Generator, length: int) -> np.ndarray:
    """(B, length): any tokens but those with a meaning of their own, if there are others."""
    special = {token for _, token in spec.tokens.named()} | {spec.output.token}
    known = np.arange(min(spec.text.vocab_size, spec.source_text.vocab_size), dtype=np.int32)  # to either side
    plain = np.setdiff1d(known, [t for t in special if t is not None])
    drawn: np.ndarray = rng.choice(plain if plain.size else known, (len(LENGTHS), length))
    return drawn.astype(np.int32)


def _longest(spec: ModelSpec, wanted: int) -> int:
    positions = spec.text.positions
    return wanted if positions.kind == "none" else min(wanted, positions.max_positions)


def _room(spec: ModelSpec, taken: int) -> int:
    """How many tokens can be generated after `taken`."""
    if spec.embedding is None:
        return 0
    positions = spec.text.positions
    return NEW_TOKENS if positions.kind == "none" else min(NEW_TOKENS, positions.max_positions - taken)


def _turned(batch: Batch) -> Batch:
    """The padding on the left."""
    lengths = batch["attention_mask"].sum(axis=1)
    shifts = batch["attention_mask"].shape[1] - lengths
    return {
        key: np.stack([np.roll(row, shift) for row, shift in zip(batch[key], shifts, strict=True)])
        for key in ("input_ids", "attention_mask")
    }
