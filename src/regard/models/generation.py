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

PROMPT_BUCKET = 32  # tokens
READ = ("input_ids", "attention_mask", "position_ids", "segment_ids")  # what a decoding reads of a batch


def pad_to_multiple(array: np.ndarray, length: int) -> np.ndarray:
    """Zeros on the right, which the attention mask hides: (B, S) -> (B, the next multiple of `length`)."""
    return np.pad(array, ((0, 0), (0, -array.shape[1] % length)))


class Generator:
    """The compiled searches of one model. A graph serves batches of all sizes."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.searches: dict[tuple[GenerationOptions, tuple[str, ...], int | None], Callable[..., Generation]] = {}

    def generate(self, batch: Batch, options: GenerationOptions) -> Generation:
        inputs = {key: np.asarray(batch[key], np.int32) for key in READ if batch.get(key) is not None}
        self._check(inputs, options)
        inputs.setdefault("attention_mask", np.ones_like(inputs["input_ids"]))
        seeds = options.row_seeds(len(inputs["input_ids"]))
        prompted = self.model.spec.form == "decoder"
        if prompted:  # the rules on repetition need a prompt's length in the graph, so there are few of them
            inputs = {key: pad_to_multiple(array, PROMPT_BUCKET) for key, array in inputs.items()}
        key = (options.static, tuple(inputs), inputs["input_ids"].shape[1] if prompted else None)
        if key not in self.searches:
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

    def _check(self, inputs: Batch, options: GenerationOptions) -> None:
        if "input_ids" not in inputs:
            raise InputError("generate needs input_ids in the batch, but has none")
        ids = inputs["input_ids"]
        spec = self.model.spec
        if ids.ndim != 2 or ids.shape[1] == 0 or not len(ids):
            raise InputError(f"input_ids must be (B, S) with at least one row and one token, but is {ids.shape}")
        if ids.min() < 0 or ids.max() >= spec.embedding.vocab_size:
            raise InputError(f"input_ids must be below vocab_size ({spec.embedding.vocab_size}), but hold {ids.max()}")
        bound = spec.embedding.positions.max_positions
        together = spec.form == "decoder"
        longest = max(ids.shape[1] * together + options.max_new_tokens, ids.shape[1])
        if longest > bound:
            what = "the prompt and max_new_tokens together" if together else "the source, and max_new_tokens,"
            raise InputError(f"{what} must be at most max_positions ({bound}), but is {longest}")
