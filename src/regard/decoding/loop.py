"""The one search loop: whatever predicts tokens, and whatever chooses among them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from regard.decoding.beam import BeamSearch
from regard.decoding.options import Array, Generation, GenerationOptions
from regard.decoding.processors import Processors, aligned_prompt, suffix_length
from regard.decoding.sample import Sampler, own_parents
from regard.errors import ConfigError

Step = Callable[[Array, Array, Any], tuple[Array, Any]]


def search(
    step: Step,
    state: Any,
    start_ids: Array,
    options: GenerationOptions,
    ops: ModuleType,
    *,
    prompt: Array | None = None,
    prompt_mask: Array | None = None,
    seeds: Array | None = None,
) -> Generation:
    """Extend `start_ids` (B, W) int32, W = options.width, token by token until every row is done.

    `step(ids (B,W), parents (B,W), state) -> (logits (B,W,V) float32, state)`: hypothesis w now extends the one that
    was at parents[b, w] a step before, by ids[b, w]. At first all hypotheses of a row are equal. `state` is a nest of
    arrays, without None; its structure, shapes and dtypes stay. V and W are static; B need not be.

    `prompt` (B, P), with prompt_mask (B, P) where it is padded, is what the rules on repetition and on bad words count
    besides the generated tokens; absent, they count the start id, as Transformers does for an encoder-decoder.
    `seeds` (B, 2) uint32 is `options.row_seeds(B)`; give it to a traced search, whose graph should not hold the seed.
    """
    if start_ids.shape[1] != options.width:
        raise ConfigError(
            f"start_ids must have {options.width} columns, one a hypothesis, but has {start_ids.shape[1]}"
        )
    if options.do_sample and seeds is None:
        seeds = ops.convert_to_tensor(options.row_seeds(start_ids.shape[0]))
    known = start_ids[:, :1] if prompt is None else prompt
    process = Processors(options, aligned_prompt(known, prompt_mask, suffix_length(options), ops), ops)
    strategy = (BeamSearch if options.num_beams > 1 else Sampler)(options, process, seeds, ops)

    def is_open(t: Array, ids: Array, parents: Array, hypotheses: Any, state: Any) -> Array:
        return ops.logical_and(t < options.max_new_tokens, strategy.is_open(hypotheses))

    def extend(t: Array, ids: Array, parents: Array, hypotheses: Any, state: Any) -> tuple[Any, ...]:
        logits, state = step(ids, parents, state)
        ids, parents, hypotheses = strategy.advance(logits, hypotheses, t)
        return t + 1, ids, parents, hypotheses, state

    start_ids = ops.cast(start_ids, "int32")
    hypotheses = strategy.start(ops.shape(start_ids)[0])
    start = (ops.zeros((), dtype="int32"), start_ids, own_parents(start_ids, ops), hypotheses, state)
    return strategy.result(ops.while_loop(is_open, extend, start)[3])
