"""How a checkpoint decodes where nobody says otherwise: generation_config.json, or an older config.json's keys."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regard.decoding.options import GenerationOptions, unsupported_generation_keys
from regard.errors import CheckpointError, ConfigError
from regard.interop.directory import REGARD, read_json
from regard.specs import ModelSpec

log = logging.getLogger(__name__)


def generation_options(written: Mapping[str, Any], spec: ModelSpec, directory: Path) -> GenerationOptions:
    """The checkpoint's own way of decoding: generation_config.json, or as in older checkpoints config.json's keys."""
    if spec.output.kind != "language":
        return GenerationOptions()
    ignored = unsupported_generation_keys(written)
    if ignored.pop("stop_strings", None):
        log.warning("%s: stop_strings end what the tasks generate and chat write, and nothing else", directory)
    if ignored:
        log.warning("%s: decoding does not know, and leaves out: %s", directory, ", ".join(sorted(ignored)))
    try:
        values = {"eos_token_id": spec.tokens.eos, "pad_token_id": spec.tokens.pad, **written}
        if written.get("force_bos_token_to_be_generated") and values.get("forced_bos_token_id") is None:
            values["forced_bos_token_id"] = spec.tokens.bos  # BART's word for it before 2021
        values |= _within_vocabulary(values, spec.text.vocab_size)
        options = GenerationOptions.from_generation_config(values)
        options.check_vocabulary(spec.text.vocab_size)
        form = read_json(directory, REGARD).get("length_penalty_form") if directory.is_dir() else None
        return options if form is None else options.merged(length_penalty_form=form)
    except ConfigError as error:
        raise CheckpointError(f"{directory}: the defaults of generation: {error}") from error


def _within_vocabulary(values: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The ids that end a text or are suppressed, without those beyond the vocabulary, which change nothing: a small
    model's file often has the defaults of a large one."""
    found: dict[str, Any] = {}
    for key in ("eos_token_id", "suppress_tokens", "begin_suppress_tokens"):
        value = values.get(key)
        listed = value if isinstance(value, (list, tuple)) else [value]
        if any(type(token) is int and token >= vocab_size for token in listed):
            found[key] = [token for token in listed if type(token) is not int or token < vocab_size] or None
    return found
