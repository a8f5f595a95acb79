"""The dropouts of a checkpoint that training goes on from: what a config.json calls them, and other values for them."""

from collections.abc import Mapping
from typing import Any

from regard.errors import ConfigError

Names = dict[str, tuple[str, ...]]  # by a run file's key, as `ModelConfig` has it

_BART: Names = {key: (key,) for key in ("dropout", "attention_dropout", "activation_dropout")}
_BERT: Names = {"dropout": ("hidden_dropout_prob",), "attention_dropout": ("attention_probs_dropout_prob",)}
_DISTILBERT: Names = {key: (key,) for key in ("dropout", "attention_dropout")}
_GPT2: Names = {"dropout": ("embd_pdrop", "resid_pdrop"), "attention_dropout": ("attn_pdrop",)}
_LLAMA: Names = {"attention_dropout": ("attention_dropout",)}
_T5: Names = {"dropout": ("dropout_rate",)}
DROPOUT_NAMES: dict[str, Names] = {  # by model_type
    **dict.fromkeys(("bart", "m2m_100", "marian", "mbart", "pegasus", "whisper"), _BART),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "vit", "deit"), _BERT),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), _LLAMA),
    **dict.fromkeys(("t5", "mt5"), _T5),
    "distilbert": _DISTILBERT,
    "gpt2": _GPT2,
}


def with_dropouts(config: Mapping[str, Any], rates: Mapping[str, float]) -> dict[str, Any]:
    """A config.json that says these rates instead of its own, of both sides where these have configs of their own.

    What a family keeps apart for a head (`classifier_dropout`, `seq_classif_dropout`, `qa_dropout`) stays, and so does
    the config of a family that is never trained on from a checkpoint. Raises ConfigError for a rate that the family
    does not have.
    """
    sides = {side: config[side] for side in ("encoder", "decoder") if isinstance(config.get(side), Mapping)}
    if sides:
        return {**config, **{name: with_dropouts(side, rates) for name, side in sides.items()}}
    family = config.get("model_type")
    if family not in DROPOUT_NAMES:
        return dict(config)
    known = DROPOUT_NAMES[family]
    for key in rates:
        if key not in known:
            has = " and ".join(f"model.{each}" for each in known)
            raise ConfigError(f"model.{key} is no key beside a {family} checkpoint, which has {has}: leave it out")
    return {**config, **{name: rate for key, rate in rates.items() for name in known[key]}}
