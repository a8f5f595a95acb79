"""What a decoder goes on from, made complete as Transformers' `generate` does it; in NumPy, for every engine."""

from collections.abc import Mapping

import numpy as np

from regard.batch import Batch
from regard.decoding.options import GenerationOptions
from regard.decoding.trie import TokenTrie
from regard.errors import InputError
from regard.models.inputs import MEMORY, check_features, check_ids, check_lengths, check_memory, source_keys
from regard.specs import AudioSpec, ModelSpec

Arrays = dict[str, np.ndarray]


def prepared(
    batch: Batch, spec: ModelSpec, options: GenerationOptions, trie: TokenTrie | None
) -> tuple[Arrays, GenerationOptions]:
    """The batch as arrays, complete, and the options for its prompts. Raises InputError for what no search can go on
    from, ConfigError for ids that the vocabulary does not have."""
    given = completed({key: np.asarray(value) for key, value in batch.items() if value is not None}, spec, options)
    options = options.resolved(prompt_length(given, spec))
    options.check_vocabulary(spec.text.vocab_size)
    if trie is not None:
        trie.check_vocabulary(spec.text.vocab_size)
    _check(given, spec, options)
    return given, options


def completed(given: Mapping[str, np.ndarray], spec: ModelSpec, options: GenerationOptions) -> Arrays:
    """The batch with the masks that its padding implies, and the start token before what the decoder goes on from."""
    whole = dict(given)
    if "decoder_input_ids" in whole:
        whole |= _started(whole, spec)
    for side in ("", "decoder_"):
        ids, mask = side + "input_ids", side + "attention_mask"
        if ids in whole and mask not in whole and whole[ids].ndim == 2:
            whole[mask] = _implied_mask(whole[ids], options) if not side else np.ones_like(whole[ids])
    return whole


def prompt_length(given: Mapping[str, np.ndarray], spec: ModelSpec) -> int:
    """The tokens of the longest prompt: a decoder's text, or what an encoder-decoder's goes on from."""
    side = "" if spec.form == "decoder" else "decoder_"
    if side + "input_ids" not in given:
        return 1  # the start token
    real = given.get(side + "attention_mask")
    return given[side + "input_ids"].shape[1] if real is None else int((real != 0).sum(axis=1).max(initial=1))


def _implied_mask(ids: np.ndarray, options: GenerationOptions) -> np.ndarray:
    """Padding is told by its id, unless a text may end in the same."""
    pad = options.pad_token_id
    if pad is None or pad in options.eos_ids:
        return np.ones_like(ids)
    return (ids != pad).astype(np.int32)


def _started(given: Arrays, spec: ModelSpec) -> Arrays:
    """Where no row begins with the start token, each is given it; but not before Whisper's prompts, which may begin
    with a text, nor where a language is the start (mBART), of which the prompt may choose another."""
    ids, start = given["decoder_input_ids"], spec.tokens.decoder_start
    if (
        isinstance(spec.source, AudioSpec)
        or spec.start_from_labels
        or ids.ndim != 2
        or start is None
        or (ids[:, 0] == start).any()
    ):
        return {}
    started = {"decoder_input_ids": np.concatenate([np.full_like(ids[:, :1], start), ids], axis=1)}
    mask = given.get("decoder_attention_mask")
    if mask is not None and mask.shape == ids.shape:
        started["decoder_attention_mask"] = np.concatenate([np.ones_like(mask[:, :1]), mask], axis=1)
    return started


def _check(given: Arrays, spec: ModelSpec, options: GenerationOptions) -> None:
    first = MEMORY if MEMORY in given else source_keys(spec)[0]
    if first not in given:
        raise InputError(f"generate needs {first} in the batch, but has none")
    if first == MEMORY:
        check_memory(given[first], spec)
    elif first == "input_ids":
        check_ids(first, given[first], spec)
    else:
        check_features(first, given[first], spec)
    if "decoder_input_ids" in given:
        if spec.form == "decoder":
            raise InputError("generate with decoder_input_ids is for encoder-decoders: leave it out")
        check_ids("decoder_input_ids", given["decoder_input_ids"], spec)
    if spec.form != "decoder" and "segment_ids" in given:
        raise InputError("generate with segment_ids is not supported: leave it out")
    _check_shapes(given, first, spec)
    if "position_ids" in given and given["position_ids"].min() < 0:
        raise InputError(f"position_ids must be at least 0, but hold {given['position_ids'].min()}")
    check_lengths(given, spec, options.max_new_tokens)


def _check_shapes(given: Arrays, first: str, spec: ModelSpec) -> None:
    """Each key beside its ids; a decoder's prompt has as many rows as the source."""
    pairs = [(key, "input_ids") for key in source_keys(spec)[1:]]
    pairs.append(("decoder_attention_mask", "decoder_input_ids"))
    for key, ids in pairs:
        if key in given and ids in given and given[key].shape != given[ids].shape:
            raise InputError(f"{key} must have the shape of {ids} {given[ids].shape}, but has {given[key].shape}")
    if "decoder_input_ids" in given and len(given["decoder_input_ids"]) != len(given[first]):
        rows, prompts = len(given[first]), len(given["decoder_input_ids"])
        raise InputError(f"decoder_input_ids must have a row for each of {first} ({rows}), but has {prompts}")
