"""What a batch must hold before a model reads it: ids of the vocabulary, arrays of the spec's sizes."""

import numpy as np

from regard.batch import Batch
from regard.errors import InputError
from regard.specs import AudioSpec, ModelSpec, PatchSpec

TOKEN_KEYS = ("input_ids", "attention_mask", "position_ids", "segment_ids", "token_type_ids")
DECODER_KEYS = ("decoder_input_ids", "decoder_attention_mask")
MEMORY = "encoder_last_hidden_state"  # in place of what the encoder reads, where it has read it already


def source_keys(spec: ModelSpec) -> tuple[str, ...]:
    """What the encoder reads of a batch, or a decoder alone; the first is the one that must be there."""
    if spec.source is None:
        return TOKEN_KEYS
    return ("pixel_values",) if isinstance(spec.source, PatchSpec) else ("input_features",)


def check_ids(key: str, ids: np.ndarray, spec: ModelSpec) -> None:
    """Raise InputError unless `ids` is (B, S), not empty, and each of them an id of the vocabulary."""
    if ids.ndim != 2 or not ids.size:
        raise InputError(f"{key} must be (B, S) with at least one row and one token, but is {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{key} must be whole numbers, but are {ids.dtype}")
    for worst in (int(ids.min()), int(ids.max())):
        if not 0 <= worst < spec.text.vocab_size:
            raise InputError(f"{key} must be ids below vocab_size ({spec.text.vocab_size}), but hold {worst}")


def check_features(key: str, values: np.ndarray, spec: ModelSpec) -> None:
    """Raise InputError unless `values` has the shape that the spec's patches or frames have."""
    source = spec.source
    wanted: tuple[int | None, ...] = ()
    if isinstance(source, PatchSpec):
        wanted = (None, source.image_height, source.image_width, source.channels)
    if isinstance(source, AudioSpec):
        wanted = (None, 2 * source.positions.max_positions, source.mels)
    if len(wanted) != values.ndim or any(w not in (None, n) for w, n in zip(wanted, values.shape, strict=True)):
        said = ", ".join("B" if size is None else str(size) for size in wanted)
        raise InputError(f"{key} must be ({said}), but is {values.shape}")


def check_memory(memory: np.ndarray, spec: ModelSpec) -> None:
    """Raise InputError unless `memory` is (B, S, D), of an encoder whose memory says all: a text's has padding."""
    if spec.form != "encoder-decoder" or spec.encoder is None or spec.source is None:
        raise InputError(f"{MEMORY} is for encoder-decoders that read images or sounds: pass what the encoder reads")
    width = spec.encoder.layer.width
    if memory.ndim != 3 or not memory.size or memory.shape[-1] != width:
        raise InputError(f"{MEMORY} must be (B, S, {width}), but is {memory.shape}")


def check_lengths(batch: dict[str, np.ndarray], spec: ModelSpec, new_tokens: int) -> None:
    """Raise InputError where a text, its prompt and `new_tokens` more pass the positions that the model has."""
    if spec.embedding is None or spec.text.positions.kind == "none":
        return
    bound, together = spec.text.positions.max_positions, spec.form == "decoder"
    source = _last_place(batch, "") if "input_ids" in batch else 0
    prompt = source if together else _last_place(batch, "decoder_") if "decoder_input_ids" in batch else 0
    longest = max(source, prompt + new_tokens)
    if longest > bound:
        what = "the prompt and max_new_tokens together" if prompt else "the source, and max_new_tokens,"
        raise InputError(f"{what} must be at most max_positions ({bound}), but is {longest}")


def _last_place(batch: Batch, side: str) -> int:
    """The number of positions that one side of a batch takes."""
    if side + "position_ids" in batch:
        return int(batch[side + "position_ids"].max()) + 1
    real = batch.get(side + "attention_mask", np.ones_like(batch[side + "input_ids"]))
    return int((real != 0).sum(axis=1).max())
