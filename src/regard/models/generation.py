"""`model.generate`: a batch of NumPy arrays through the one search, compiled once for each set of options."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from regard.batch import Batch
from regard.decoding.loop import search
from regard.decoding.options import Generation, GenerationOptions
from regard.errors import InputError
from regard.nn.kernels import compiled
from regard.specs import ModelSpec

PROMPT_BUCKET = 32  # tokens
MOST_SEARCHES = 16  # graphs that are kept, the oldest given up first
READ = ("input_ids", "attention_mask", "position_ids", "segment_ids")  # what a decoding reads of a batch


def pad_to_multiple(array: np.ndarray, length: int) -> np.ndarray:
    """Zeros on the right, which the attention mask hides: (B, S) -> (B, the next multiple of `length`)."""
    return np.pad(array, ((0, 0), (0, -array.shape[1] % length)))


def check_ids(key: str, ids: np.ndarray, spec: ModelSpec) -> None:
    """Raise InputError unless `ids` is (B, S), not empty, and each of them an id of the vocabulary."""
    if ids.ndim != 2 or not ids.size:
        raise InputError(f"{key} must be (B, S) with at least one row and one token, but is {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{key} must be whole numbers, but are {ids.dtype}")
    for worst in (int(ids.min()), int(ids.max())):
        if not 0 <= worst < spec.embedding.vocab_size:
            raise InputError(f"{key} must be ids below vocab_size ({spec.embedding.vocab_size}), but hold {worst}")


class Generator:
    """The compiled searches of one model. A graph serves batches of all sizes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.searches: dict[tuple[GenerationOptions, tuple[str, ...], int | None], Callable[..., Generation]] = {}

    def generate(self, batch: Batch, options: GenerationOptions) -> Generation:
        given = {key: np.asarray(value) for key, value in batch.items() if value is not None}
        given.setdefault("attention_mask", np.ones_like(given.get("input_ids", [])))
        self._check(given, options)
        inputs = {key: given[key].astype(np.int32) for key in READ if key in given}
        seeds = options.row_seeds(len(inputs["input_ids"]))
        prompted = self.model.spec.form == "decoder"
        if prompted:  # the rules on repetition need a prompt's length in the graph, so there are few of them
            inputs = {key: pad_to_multiple(array, PROMPT_BUCKET) for key, array in inputs.items()}
        key = (options.static, tuple(inputs), inputs["input_ids"].shape[1] if prompted else None)
        if key not in self.searches:
            if len(self.searches) == MOST_SEARCHES:
                del self.searches[next(iter(self.searches))]
            self.searches[key] = compiled(self._search(options.static), inputs, seeds, rows_alone=prompted)
        found = self.searches[key](inputs, seeds)
        return Generation(*(None if field is None else np.asarray(field) for field in found))

    def _search(self, options: GenerationOptions) -> Callable[..., Generation]:
        def run(inputs: Batch, seeds: Any) -> Generation:
            start_ids, state = self.model.decoding_state(inputs, options.width, options.max_new_tokens)
            prompt = {"prompt": inputs["input_ids"], "prompt_mask": inputs["attention_mask"]}
            history = prompt if self.model.spec.form == "decoder" else {}
            two_words = ops.reshape(seeds, (-1, 2))  # tells the graph of any size that a seed is two words
            return search(self.model.decoding_step, state, start_ids, options, ops, seeds=two_words, **history)

        return run

    def _check(self, given: dict[str, np.ndarray], options: GenerationOptions) -> None:
        spec, together = self.model.spec, self.model.spec.form == "decoder"
        if "input_ids" not in given:
            raise InputError("generate needs input_ids in the batch, but has none")
        check_ids("input_ids", given["input_ids"], spec)
        options.check_vocabulary(spec.embedding.vocab_size)
        for key in ("decoder_input_ids", *(() if together else ("segment_ids",))):
            if key in given:
                raise InputError(f"generate with {key} is not supported: leave it out")
        for key in READ:
            if key in given and given[key].shape != given["input_ids"].shape:
                raise InputError(
                    f"{key} must have the shape of input_ids {given['input_ids'].shape}, but has {given[key].shape}"
                )
        bound = spec.embedding.positions.max_positions
        last = (given["attention_mask"] != 0).sum(axis=1).max()
        if "position_ids" in given:
            last = given["position_ids"].max() + 1
            if given["position_ids"].min() < 0:
                raise InputError(f"position_ids must be at least 0, but hold {given['position_ids'].min()}")
        longest = max(last, options.max_new_tokens + last * together)
        if spec.embedding.positions.kind != "none" and longest > bound:
            what = "the prompt and max_new_tokens together" if together else "the source, and max_new_tokens,"
            raise InputError(f"{what} must be at most max_positions ({bound}), but is {longest}")
