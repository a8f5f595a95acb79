"""What a search remembers of its hypotheses: tracks, arrays (B, W, T) of which each step fills one column.

The first track holds the ids, -1 where there is none; a second one, if scores are asked for, the tokens'
log-probabilities.
"""

from types import ModuleType

from regard.decoding.options import Array, Generation, GenerationOptions

Tracks = tuple[Array, ...]


def empty_tracks(batch: Array, options: GenerationOptions, ops: ModuleType) -> Tracks:
    """Tracks for W hypotheses of nothing yet."""
    shape = (batch, options.width, options.max_new_tokens)
    ids = ops.full(shape, -1, dtype="int32")
    return (ids, ops.zeros(shape, dtype="float32")) if options.return_scores else (ids,)


def write(tracks: Tracks, step: Array, values: Tracks, ops: ModuleType) -> Tracks:
    """Put values, each (B, W), into column `step`."""
    here = ops.arange(tracks[0].shape[-1], dtype="int32") == step
    return tuple(ops.where(here, value[..., None], track) for track, value in zip(tracks, values, strict=True))


def pick(tracks: Tracks, index: Array, ops: ModuleType) -> Tracks:
    """The rows index (B, K) of each track: (B, W, T) -> (B, K, T)."""
    width, length = tracks[0].shape[1:]
    rows = index + ops.arange(ops.shape(index)[0], dtype="int32")[:, None] * width
    return tuple(ops.take(ops.reshape(track, (-1, length)), rows, axis=0) for track in tracks)


def length_divisor(length: Array, options: GenerationOptions, ops: ModuleType) -> Array:
    """What a sum of log-probabilities is divided by, for `length` tokens with eos (Wu et al. 2016, section 7)."""
    length = ops.cast(length, "float32")
    base = (5 + length) / 6 if options.length_penalty_form == "gnmt" else length
    return base**options.length_penalty


def generation(tracks: Tracks, scores: Array | None, options: GenerationOptions, ops: ModuleType) -> Generation:
    """Padding for -1; `scores` (B, N) as they are."""
    ids = tracks[0]
    present = ids >= 0
    return Generation(
        sequences=ops.where(present, ids, options.pad_id),
        lengths=ops.sum(ops.cast(present, "int32"), axis=-1),
        scores=scores,
        token_scores=ops.where(present, tracks[1], 0.0) if options.return_scores else None,
    )
