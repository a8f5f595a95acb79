"""Searches: what Transformers' `generate` finds, and whether it would find it with another rounding, too."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from oracle.case import Arrays, Case, Model, Unfit
from oracle.inputs import features, pixels, texts
from oracle.outputs import as_torch, row_of
from oracle.weights import ends_of

LIMIT = 10  # tokens to generate
PROMPTS = (6, 4, 5, 2)  # lengths
NOISE = 2e-4  # far above the rounding of float32 in any framework
DRAWS = 3
Options = dict[str, Any]
Found = dict[str, np.ndarray]  # sequences (B, N, T), lengths (B, N), scores (B, N) for beams


class Noise(LogitsProcessor):
    """Logits as another framework might round them, but worse."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores + NOISE * torch.randn(scores.shape, generator=self.generator)


BEAMS: Options = {"num_beams": 4, "max_new_tokens": LIMIT}
GREEDY: Options = {"max_new_tokens": LIMIT}
SHORT: dict[str, Options] = {
    "greedy": GREEDY,
    "beam": {**BEAMS, "length_penalty": 0.6, "early_stopping": True},
}
FULL: dict[str, Options] = {
    **SHORT,
    "beam-long": {**BEAMS, "length_penalty": 1.4, "early_stopping": False},
    "beam-never": {**BEAMS, "length_penalty": 1.4, "early_stopping": "never"},
    "beam-first": {**BEAMS, "length_penalty": 1.4, "early_stopping": True},
    "beam-three": {**BEAMS, "length_penalty": 0.6, "early_stopping": False, "num_return_sequences": 3},
    "repetition": {**GREEDY, "repetition_penalty": 1.8},
    "ngram": {**BEAMS, "no_repeat_ngram_size": 2},
}
SUITES: dict[str, dict[str, Options]] = {"": {}, "short": SHORT, "full": FULL}


def prompts(case: Case, rng: np.random.Generator) -> Arrays:
    """What generation starts from: prompts padded left for a decoder, sources padded right for an encoder."""
    if case.form == "audio":
        return {"input_features": features(case, rng, 4)}
    if case.form == "captioning":
        return {"pixel_values": pixels(case, rng, 4)}
    padded = texts(case, rng, PROMPTS)
    if case.form == "encoder-decoder":
        return padded
    pads = [max(PROMPTS) - length for length in PROMPTS]
    return {
        key: np.stack([np.roll(row, n) for row, n in zip(value, pads, strict=True)]) for key, value in padded.items()
    }


def check_promising(case: Case, model: Model, batch: Arrays) -> None:
    """What is cheap to ask first: whether greedy search finds enough. Raises Unfit."""
    greedy = suite(case).get("greedy")
    if greedy is None:
        return
    found = search(case, model, batch, greedy)
    varied(found)
    detects = "lang_to_id" in case.generation_config and "language" not in case.always
    if detects and len(np.unique(found["decoder_prompt"], axis=0)) == 1:
        raise Unfit("one language for all")


def record(case: Case, model: Model, batch: Arrays) -> dict[str, tuple[Options, Found]]:
    """Every search of the case's suite and its own: the options, and what was found. Raises Unfit."""
    found: dict[str, tuple[Options, Found]] = {}
    for name, options in suite(case).items():
        found[name] = (options, search(case, model, batch, options))
    if case.suite == "full":
        for name, rules in biting(found["greedy"][1], kept_of(model)).items():
            options = possible(case, rules)
            found[name] = (options, search(case, model, batch, options))
        bite(found)
    for name, (options, result) in found.items():
        sturdy(case, model, batch, options, result, name)
    return found


def suite(case: Case) -> dict[str, Options]:
    asked = {**SUITES[case.suite], **case.searches}
    return {name: possible(case, options) for name, options in asked.items()}


def possible(case: Case, options: Mapping[str, Any]) -> Options:
    """The options with those of every search of the case."""
    merged = {**options, **case.always}
    if case.form == "audio":
        merged.pop("num_return_sequences", None)  # Whisper's generate would return one sequence several times
    return merged


@torch.no_grad()
def search(case: Case, model: Model, batch: Arrays, options: Mapping[str, Any], noise: int | None = None) -> Found:
    """Call `generate`, and cut off what was given to it: prompt or start tokens."""
    asked = {"do_sample": False, "return_dict_in_generate": True, "output_scores": True, **options}
    if deeper_decoder(model):
        asked["use_cache"] = False  # T5's generate raises otherwise
    if noise is not None:
        asked["logits_processor"] = LogitsProcessorList([Noise(noise)])
    if case.form == "audio":
        asked["force_unique_generate_call"] = True  # no second window, whatever the timestamps say
    result = model.generate(**as_torch(batch), **asked)
    start = case.started if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
    rows = len(next(iter(batch.values())))
    sequences = result.sequences[:, start:].numpy().reshape(rows, -1, result.sequences.shape[1] - start)
    found = cropped(sequences.astype("int32"), ends_of(model), pad_of(model))
    if options.get("num_beams", 1) > 1:
        found["scores"] = result.sequences_scores.numpy().reshape(rows, -1)
    if case.form == "audio":
        found["decoder_prompt"] = result.sequences[:, :start].numpy().astype("int32")
    return found


def deeper_decoder(model: Model) -> bool:
    config = model.config
    return config.model_type == "t5" and config.num_decoder_layers > config.num_layers


def pad_of(model: Model) -> int:
    pad = model.generation_config.pad_token_id
    return ends_of(model)[0] if pad is None else pad


def cropped(sequences: np.ndarray, ends: list[int], pad: int) -> Found:
    """Lengths up to and with eos, one padding after it (Transformers' varies), no column that is padding alone."""
    T = sequences.shape[-1]
    is_end = np.isin(sequences, ends)
    lengths = np.where(is_end.any(-1), is_end.argmax(-1) + 1, T).astype("int32")
    padded = np.where(np.arange(T) < lengths[..., None], sequences, pad).astype("int32")
    return {"sequences": padded[..., : lengths.max()], "lengths": lengths}


def kept_of(model: Model) -> list[int]:
    """What no rule should forbid."""
    return [*ends_of(model), model.generation_config.forced_bos_token_id]


def biting(greedy: Found, kept: list[int]) -> dict[str, Options]:
    """Searches under rules that forbid what greedy search found."""
    rows = [row[0, : length[0]].tolist() for row, length in zip(greedy["sequences"], greedy["lengths"], strict=True)]
    longest, other = sorted(rows, key=len)[::-1][:2]
    if len(other) < 3:
        raise Unfit("too little to forbid")
    words = [[longest[1]], other[1:3]]
    suppressed = sorted({longest[2], other[-2]} - set(kept))
    if longest[1] in kept or not suppressed:
        raise Unfit("nothing to forbid")
    shortest = min(map(len, rows))
    return {
        "bad-words": {**GREEDY, "bad_words_ids": words},
        "suppress": {**BEAMS, "suppress_tokens": suppressed},
        "min-new": {**BEAMS, "min_new_tokens": min(shortest + 3, LIMIT - 1)},
        "together": {
            **BEAMS,
            "length_penalty": 0.6,
            "early_stopping": True,
            "repetition_penalty": 1.3,
            "no_repeat_ngram_size": 3,
            "bad_words_ids": words,
            "min_new_tokens": 4,
            "num_return_sequences": 2,
        },
    }


def varied(greedy: Found) -> None:
    """Some rows end, some go on, and none says one thing for ever."""
    lengths = greedy["lengths"][:, 0]
    if lengths.min() == lengths.max():
        raise Unfit("all rows are of one length")
    for row, length in zip(greedy["sequences"][:, 0], lengths, strict=True):
        if length > 3 and len(set(row[:length].tolist())) < min(length, 5) - 1:
            raise Unfit("a row repeats itself")


def bite(found: dict[str, tuple[Options, Found]]) -> None:
    """Each rule changes something."""
    pairs = [("repetition", "greedy"), ("bad-words", "greedy"), ("min-new", "ngram"), ("beam-long", "beam-first")]
    for name, without in pairs:
        if same(found[name][1], found[without][1]):
            raise Unfit(f"{name} changes nothing")


def same(one: Found, other: Found) -> bool:
    return one["sequences"].shape == other["sequences"].shape and bool((one["sequences"] == other["sequences"]).all())


def sturdy(case: Case, model: Model, batch: Arrays, options: Options, found: Found, name: str) -> None:
    """Other roundings find the same; so does each row alone, for what a prompt's padding must not matter to."""
    for seed in range(DRAWS):
        if not same(search(case, model, batch, options, noise=seed), found):
            raise Unfit(f"{name} hangs on the last digits")
    if case.form == "decoder":
        for row, sequences in enumerate(found["sequences"]):
            alone = search(case, model, row_of(batch, row), options)
            lengths = found["lengths"][row]
            if (alone["lengths"][0] != lengths).any() or (alone["sequences"][0] != sequences[:, : lengths.max()]).any():
                raise Unfit(f"{name} depends on a prompt's padding")
