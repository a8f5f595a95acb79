"""What a batch must hold before a model reads it: ids of the vocabulary, arrays of the spec's sizes."""

import numpy as np

from regard.batch import IGNORED_LABEL, KEYS, Batch
from regard.errors import InputError
from regard.specs import AudioSpec, HeadSpec, ModelSpec, PairSpec, PatchSpec
from regard.specs.layers import LONGEST

Arrays = dict[str, np.ndarray]

TOKEN_KEYS = ("input_ids", "attention_mask", "position_ids", "segment_ids", "token_type_ids")
DECODER_KEYS = ("decoder_input_ids", "decoder_attention_mask")
MEMORY = "encoder_last_hidden_state"  # in place of what the encoder reads, where it has read it already
_LEARNT_FROM = {"span": ("start_positions", "end_positions"), "hidden": (), "pooled": ()}  # others: labels


def source_keys(spec: ModelSpec) -> tuple[str, ...]:
    """What the encoder reads of a batch, or a decoder alone; the first is the one that must be there."""
    if spec.source is None:
        return TOKEN_KEYS
    return ("pixel_values",) if isinstance(spec.source, PatchSpec) else ("input_features",)


def check_batch(batch: Batch, spec: ModelSpec) -> None:
    """Raise InputError for what the model cannot read, or would read as something else.

    Checked is what is at hand: lists and arrays. Tensors may stand in a graph, where nothing is known of their values.
    """
    arrays, target = at_hand(batch), ""
    _check_source(batch, arrays, spec)
    if spec.form == "encoder-decoder":
        target = "labels" if batch.get("decoder_input_ids") is None else "decoder_input_ids"
        _check_side(batch, arrays, target, "decoder_", spec)
    check_labels(arrays, spec, target)
    if spec.form != "pair":  # it takes any number of texts and of images
        _check_rows(arrays, [*source_keys(spec)[:1], MEMORY, target, *_LEARNT_FROM.get(spec.output.kind, ("labels",))])


def check_source(batch: Batch, spec: ModelSpec) -> None:
    """`check_batch`, of what the encoder reads, or a decoder alone."""
    _check_source(batch, at_hand(batch), spec)


def _check_source(batch: Batch, arrays: Arrays, spec: ModelSpec) -> None:
    first = source_keys(spec)[0]
    if MEMORY in arrays:
        check_memory(arrays[MEMORY], spec)
    elif batch.get(first) is None and batch.get(MEMORY) is None and spec.form != "pair":
        raise InputError(f"this model reads {first}, but the batch has {', '.join(sorted(batch)) or 'nothing'}")
    if first == "input_ids":
        _check_side(batch, arrays, first, "", spec)
        if spec.text.token_types and "token_type_ids" in arrays:
            check_below("token_type_ids", arrays["token_type_ids"], spec.text.token_types, "token_types")
    elif first in arrays:
        check_features(first, arrays[first], spec)
    if isinstance(spec, PairSpec) and "pixel_values" in arrays:
        check_features("pixel_values", arrays["pixel_values"], spec.image_side)


def at_hand(batch: Batch) -> Arrays:
    """The values of known keys that are lists or arrays. Raises InputError for rows of several lengths."""
    found = {}
    for key in KEYS.keys() & batch.keys():
        value = batch[key]
        if not isinstance(value, (list, tuple, np.ndarray)):
            continue
        try:
            found[key] = np.asarray(value)
        except ValueError as error:
            raise InputError(f"{key} must have rows of one length: pad the shorter ones") from error
        if found[key].dtype.kind not in "biuf" and found[key].dtype.name != "bfloat16":
            raise InputError(f"{key} must be numbers, but are {found[key].dtype}")
    return found


def check_below(key: str, values: np.ndarray, bound: int, what: str, ignored: bool = False) -> None:
    """Raise InputError unless all are whole numbers from 0 to below `bound`; of labels some may be ignored."""
    if values.dtype.kind not in "iu":
        raise InputError(f"{key} must be whole numbers, but are {values.dtype}")
    counted = values[values != IGNORED_LABEL] if ignored else values
    for worst in (counted.min(initial=0), counted.max(initial=0)):
        if not 0 <= worst < bound:
            more = f", or {IGNORED_LABEL}," if ignored else ""
            raise InputError(f"{key} must be from 0 to below {what} ({bound}){more} but hold {worst}")


def check_labels(arrays: Arrays, spec: ModelSpec, target: str) -> None:
    """Raise InputError for labels that the head's loss cannot take. target: the key of what a decoder reads."""
    kind, labels = spec.output.kind, arrays.get("labels")
    if kind == "span":
        for key in arrays.keys() & {"start_positions", "end_positions"}:
            if arrays[key].dtype.kind not in "iu" or arrays[key].ndim != 1:
                raise InputError(f"{key} must be whole numbers (B,), but are {arrays[key].dtype} {arrays[key].shape}")
    elif labels is None or (kind in ("hidden", "pooled") and target != "labels"):
        return
    elif kind == "sequence_class":
        _check_classes(labels, spec.output)
    else:
        ids = arrays.get(target or "input_ids", labels)
        if labels.shape != ids.shape or labels.ndim != 2:
            raise InputError(f"labels must have the shape of {target or 'input_ids'} {ids.shape}, not {labels.shape}")
        bound, what = (spec.output.labels, "labels") if kind == "token_class" else (spec.vocab_size, "vocab_size")
        check_below("labels", labels, bound, what, ignored=True)


def _check_classes(labels: np.ndarray, head: HeadSpec) -> None:
    """One class a row, or a number for each class, as the problem wants; see `class_losses`."""
    whole, one_each = labels.dtype.kind in "iu", labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    problem = head.problem or ("regression" if head.labels == 1 else "single_label" if whole else "multi_label")
    if problem == "single_label":
        if not one_each:
            raise InputError(f"labels must be (B,), a class for each row, but are {labels.shape}")
        check_below("labels", labels, head.labels, "labels", ignored=True)
    elif labels.shape[1:] != (head.labels,) and not (one_each and head.labels == 1):
        raise InputError(f"labels must be (B, {head.labels}), a number for each class, but are {labels.shape}")
    elif problem == "multi_label" and labels.size and not (labels.min() >= 0 and labels.max() <= 1):
        raise InputError(f"labels must be from 0 to 1, but are from {labels.min()} to {labels.max()}")


def _check_rows(arrays: Arrays, keys: list[str]) -> None:
    """Raise InputError unless all have as many rows as the first of them that is there."""
    first, *others = [key for key in keys if key in arrays] or [""]
    for key in others:
        if arrays[key].shape[:1] != arrays[first].shape[:1]:
            rows, found = ((*arrays[name].shape, 0)[0] for name in (first, key))  # a number alone has no rows
            raise InputError(f"{key} must have a row for each of {first} ({rows}), but has {found}")


def _check_side(batch: Batch, arrays: Arrays, first: str, side: str, spec: ModelSpec) -> None:
    """Raise InputError unless one side's ids are ids, and what stands beside them has their shape and sense."""
    if batch.get(first) is None:
        return  # who reads it complains, or nobody does
    ids = arrays.get(first)
    if ids is not None and first != "labels":
        check_ids(first, ids, spec)
    beside = [side + key for key in TOKEN_KEYS[1:] if side + key in arrays]
    for key in beside:
        if ids is not None and arrays[key].shape != ids.shape:
            raise InputError(f"{key} must have the shape of {first} {ids.shape}, but has {arrays[key].shape}")
        if key.endswith("attention_mask") and arrays[key].size:
            low, high = arrays[key].min(), arrays[key].max()
            if not (low >= 0 and high <= 1):
                raise InputError(f"{key} must be 1 for a real token and 0 for padding, but holds {low} to {high}")
        elif key.endswith("_ids") and arrays[key].dtype.kind not in "iu":
            raise InputError(f"{key} must be whole numbers, but are {arrays[key].dtype}")
    _check_places(batch, arrays, first, side, spec)


def _check_places(batch: Batch, arrays: Arrays, first: str, side: str, spec: ModelSpec) -> None:
    """Raise InputError unless one side's positions, given or counted, are within the table of positions."""
    positions, ids = spec.text.positions, arrays.get(first)
    has_table = positions.kind != "none"
    if side + "position_ids" in arrays:
        bound = positions.max_positions if has_table else LONGEST
        check_below(side + "position_ids", arrays[side + "position_ids"], bound, "max_positions")
    counted_by = [side + key for key in ("position_ids", "attention_mask", "segment_ids")]
    in_graph = any(batch.get(key) is not None and key not in arrays for key in counted_by)
    if not has_table or ids is None or ids.ndim != 2 or in_graph or side + "position_ids" in arrays:
        return
    longest = _longest(arrays.get(side + "attention_mask", np.ones_like(ids)), arrays.get(side + "segment_ids"))
    if longest > positions.max_positions:
        raise InputError(f"{first} must be at most max_positions ({positions.max_positions}) long, but are {longest}")


def _longest(real: np.ndarray, segments: np.ndarray | None) -> int:
    """The most real tokens of a row, or of a segment of one."""
    if segments is None:
        return int((real != 0).sum(axis=1).max(initial=0))
    counts = (np.unique(row[mask != 0], return_counts=True)[1] for row, mask in zip(segments, real, strict=True))
    return max((int(count.max(initial=0)) for count in counts), default=0)


def check_ids(key: str, ids: np.ndarray, spec: ModelSpec) -> None:
    """Raise InputError unless `ids` is (B, S), not empty, and each of them an id of the vocabulary."""
    if ids.ndim != 2 or not ids.size:
        raise InputError(f"{key} must be (B, S) with at least one row and one token, but is {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{key} must be whole numbers, but are {ids.dtype}")
    bound = (spec.source_text if key == "input_ids" else spec.text).vocab_size
    for worst in (int(ids.min()), int(ids.max())):
        if not 0 <= worst < bound:
            raise InputError(f"{key} must be ids below vocab_size ({bound}), but hold {worst}")


def check_features(key: str, values: np.ndarray, spec: ModelSpec) -> None:
    """Raise InputError unless `values` has the shape that the spec's patches or frames have."""
    source = spec.source
    wanted: tuple[int | None, ...] = ()
    if isinstance(source, PatchSpec):
        wanted = (None, source.image_height, source.image_width, source.channels)
    if isinstance(source, AudioSpec):
        frames = 2 * source.positions.max_positions
        if not source.whole_windows and values.ndim == 3 and not (values.shape[1] % 2 or values.shape[1] > frames):
            frames = values.shape[1]
        wanted = (None, frames, source.mels)
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
