"""GPT-2, and Llama and its kin: Qwen2, Qwen3, Mistral, SmolLM."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from oracle.case import Arrays, Case, Model, Randomness, labelled
from oracle.outputs import forward

GPT2 = {
    "vocab_size": 67,
    "n_embd": 12,
    "n_layer": 2,
    "n_head": 3,
    "n_positions": 32,
    "layer_norm_epsilon": 1e-2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA = {
    "vocab_size": 67,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 19,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
TIED = Randomness(gain=1.6, embedding=0.3, table=0.8, eos=1.6)
UNTIED = Randomness(gain=1.5, embedding=0.3, head=2.5, eos=1.6)


def rope(kind: str, **parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **parameters}}


def explicit_positions(model: Model, directory: Path, rng: np.random.Generator) -> dict[str, Arrays]:
    """A call whose positions the batch gives."""
    batch = {
        "input_ids": rng.integers(5, 58, (2, 6)).astype("int32"),
        "position_ids": np.array([[3, 4, 5, 6, 7, 8], [0, 1, 0, 1, 2, 9]], "int32"),
    }
    return {"positions/in": batch, "positions/out": {"logits": forward(model, batch)["logits"]}}


def of_gpt2() -> list[Case]:
    lm = Case(
        name="gpt2-language-model",
        family="gpt2",
        head="language-model",
        form="decoder",
        architecture="GPT2LMHeadModel",
        config=GPT2,
        random=TIED,
        suite="full",
        record=explicit_positions,
    )
    short = replace(lm, suite="short", record=None, brief=True)
    return [
        lm,
        short.varied(
            "inverse-layer-idx",
            "scores of layer i are divided by i + 1 besides; three layers",
            {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3},
        ),
        short.varied(
            "reorder-upcast",
            "scaled in another order: the same numbers in float32",
            {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
        ),
        short.varied("unscaled", "scores are not divided by the root of the head width", {"scale_attn_weights": False}),
        short.varied("n-inner", "a width of its own, and relu", {"n_inner": 31, "activation_function": "relu"}),
        short.varied(
            "gelu", "exact gelu, one head of five", {"activation_function": "gelu", "n_embd": 15, "n_head": 5}
        ),
        without_pad(short),
        *classified(lm, "GPT2"),
    ]


def without_pad(lm: Case) -> Case:
    """As the published checkpoints are: rows are filled with eos after their end."""
    return lm.varied("no-pad", "no pad_token_id: rows are filled with eos", {"pad_token_id": None, "eos_token_id": 3})


def classified(lm: Case, stem: str) -> list[Case]:
    """The bare network, and classes told from the last real token."""
    plain = replace(lm, suite="", record=None, random=replace(lm.random, eos=1.0))
    single = {"head": "sequence-class", "architecture": f"{stem}ForSequenceClassification"}
    return [
        replace(plain, name=f"{lm.family}-bare", head="bare", architecture=f"{stem}Model"),
        replace(
            plain,
            name=f"{lm.family}-sequence-class",
            config={**lm.config, **labelled(5)},
            labels="single",
            notes="the last token that is not pad_token_id is read",
            **single,
        ),
    ]


def of_llama() -> list[Case]:
    lm = Case(
        name="llama-language-model",
        family="llama",
        head="language-model",
        form="decoder",
        architecture="LlamaForCausalLM",
        config={**LLAMA, **rope("default")},
        notes="six heads share two keys; head_dim is not hidden_size / heads; untied",
        random=UNTIED,
        suite="full",
        record=explicit_positions,
    )
    short = replace(lm, suite="short", record=None, brief=True)
    long = {"max_position_embeddings": 64}
    return [
        lm,
        short.varied(
            "tied",
            "biases everywhere; head_dim is hidden_size / heads; every head has its keys",
            {
                "tie_word_embeddings": True,
                "attention_bias": True,
                "mlp_bias": True,
                "num_attention_heads": 3,
                "num_key_value_heads": 3,
            },
            random=TIED,
        ),
        short.varied(
            "head-dim",
            "one key for all heads; gelu; two ids end a text",
            {
                "head_dim": 6,
                "num_attention_heads": 3,
                "num_key_value_heads": 1,
                "hidden_act": "gelu",
                "eos_token_id": [2, 60],
            },
        ),
        short.varied("rope-linear", "positions divided by 2.5", {**rope("linear", factor=2.5), **long}),
        short.varied(
            "rope-llama3",
            "of four rates one stays, one is divided by 8, two lie between or beyond",
            {
                **rope(
                    "llama3",
                    factor=8.0,
                    low_freq_factor=1.0,
                    high_freq_factor=4.0,
                    original_max_position_embeddings=64,
                ),
                **long,
                "head_dim": 8,
            },
        ),
        short.varied(
            "rope-yarn",
            "the attention factor follows from the factor",
            {
                **rope("yarn", rope_theta=10.0, factor=4.0, original_max_position_embeddings=1024),
                "max_position_embeddings": 4096,
                "head_dim": 8,
            },
        ),
        short.varied(
            "rope-yarn-explicit",
            "betas and the attention factor are given; the ramp is not cut to whole rates",
            {
                **rope(
                    "yarn",
                    factor=3.0,
                    original_max_position_embeddings=32,
                    beta_fast=2.0,
                    beta_slow=0.5,
                    attention_factor=1.3,
                    truncate=False,
                ),
                **long,
                "head_dim": 8,
            },
        ),
        short.varied("rope-theta-4x", "the spelling of 4.x, and inv_freq buffers as old files have them", edit=as_4x),
        short.varied(
            "rope-scaling-4x",
            'the spelling of 4.x: rope_theta at the top, rope_scaling with "type"',
            {**rope("linear", factor=2.0), **long},
            edit=as_4x,
        ),
        smollm(short),
        without_pad(short),
        *classified(lm, "Llama"),
    ]


def as_4x(directory: Path) -> None:
    """Rewrite the config as Transformers 4 wrote it, and add the buffers that it once saved."""
    config = json.loads((directory / "config.json").read_text("utf-8"))
    rotary = config.pop("rope_parameters")
    config["rope_theta"] = rotary.pop("rope_theta")
    kind = rotary.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rotary}
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.31.0"
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    if kind == "default":
        tensors = load_file(directory / "model.safetensors")
        rates = config["rope_theta"] ** -(torch.arange(0, config["head_dim"], 2) / config["head_dim"])
        for layer in range(config["num_hidden_layers"]):
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = rates.clone()
        save_file(tensors, directory / "model.safetensors", {"format": "pt"})


def smollm(lm: Case) -> Case:
    """SmolLM2's config: Llama's, tied, with keys that mean nothing to the network."""

    def edit(directory: Path) -> None:
        as_4x(directory)
        path = directory / "config.json"
        config = json.loads(path.read_text("utf-8"))
        del config["head_dim"]
        config |= {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"dtype": "q4"}}
        path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    sizes = {"num_attention_heads": 3, "num_key_value_heads": 1, "tie_word_embeddings": True, "pad_token_id": 2}
    tied = lm.varied("smollm", "", sizes, random=TIED, edit=edit)
    notes = "is Llama; the config has no head_dim, the spelling of 4.x, and keys of its own; pad is eos"
    return replace(tied, name="smollm-language-model", family="smollm", notes=notes)


def of_qwen2() -> list[Case]:
    lm = Case(
        name="qwen2-language-model",
        family="qwen2",
        head="language-model",
        form="decoder",
        architecture="Qwen2ForCausalLM",
        config={
            **{key: value for key, value in LLAMA.items() if key != "head_dim"},
            **rope("default"),
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
        },
        notes="biases on queries, keys and values alone",
        random=UNTIED,
        suite="full",
    )
    short = replace(lm, suite="short")
    window = {"use_sliding_window": True, "sliding_window": 3}
    mixed = ["sliding_attention", "full_attention", "sliding_attention"]
    return [
        lm,
        short.varied("tied", "", {"tie_word_embeddings": True, "num_key_value_heads": 3}, random=TIED),
        short.varied(
            "window",
            "layers from max_window_layers on see three tokens; the config has no layer_types, as in 4.x",
            {**window, "max_window_layers": 1, "num_hidden_layers": 3},
            edit=without_layer_types,
        ),
        short.varied(
            "layer-types", "each layer says what it sees", {**window, "num_hidden_layers": 3, "layer_types": mixed}
        ),
        short.varied(
            "window-unused", "a window that use_sliding_window turns off", {**window, "use_sliding_window": False}
        ),
        classified(lm, "Qwen2")[1],
    ]


def without_layer_types(directory: Path) -> None:
    path = directory / "config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["layer_types"]
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def of_qwen3() -> list[Case]:
    lm = Case(
        name="qwen3-language-model",
        family="qwen3",
        head="language-model",
        form="decoder",
        architecture="Qwen3ForCausalLM",
        config={**LLAMA, **rope("default"), "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 6},
        notes="each head's queries and keys are normalised before they are turned",
        random=UNTIED,
        suite="full",
    )
    biased = {"tie_word_embeddings": True, "attention_bias": True, "head_dim": 4}
    window = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}
    return [
        lm,
        replace(lm, suite="short").varied("tied", "biases on all four projections", biased, random=TIED),
        replace(lm, suite="short").varied("window", "the second layer sees three tokens", window),
        classified(lm, "Qwen3")[1],
    ]


def of_mistral() -> list[Case]:
    lm = Case(
        name="mistral-language-model",
        family="mistral",
        head="language-model",
        form="decoder",
        architecture="MistralForCausalLM",
        config={**LLAMA, **rope("default"), "num_attention_heads": 3, "num_key_value_heads": 1, "sliding_window": 4},
        notes="every layer sees four tokens, itself included",
        random=UNTIED,
        suite="full",
    )
    open_window = {"sliding_window": None, "head_dim": 6, "num_key_value_heads": 3}
    return [
        lm,
        replace(lm, suite="short").varied("no-window", "", open_window),
        classified(lm, "Mistral")[1],
    ]


CASES = [*of_gpt2(), *of_llama(), *of_qwen2(), *of_qwen3(), *of_mistral()]
