"""What a decoder goes on from, made complete as Transformers' `generate` does it; in NumPy, for every engine."""

from collections.abc import Mapping

import numpy as np

from regard.decoding.options import GenerationOptions
from regard.specs import AudioSpec, ModelSpec

Arrays = dict[str, np.ndarray]


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
