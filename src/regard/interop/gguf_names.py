"""llama.cpp's names for what Hugging Face calls otherwise: tensors, and metadata as a config.json."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from math import isfinite, pi, prod
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple

import numpy as np

from regard.errors import CheckpointError

ROPE_FACTORS = "rope_freqs.weight"  # (head width / 2,): what Llama 3 divides each rotary frequency by
HALF_FLOATS = {"F16": "float16", "BF16": "bfloat16"}
LARGEST_SIZE = 2**31 - 1
LLAMA3_1 = (4.0, 8192)  # its high_freq_factor, and the positions that Llama 3 was trained on
NO_TOKEN = 2**32 - 1  # how some writers say that there is no such token


def shown(value: Any) -> str:
    """Something that a file says, in a line of bearable length."""
    return " ".join(short(value).split())


class Stored(NamedTuple):
    """Where a tensor lies in the file, and how it is written there."""

    shape: tuple[int, ...]
    kind: Any  # gguf.GGMLQuantizationType
    start: int  # bytes
    size: int  # bytes


class Source(NamedTuple):
    """The tensor that a Hugging Face name stands for, and what llama.cpp's converter did to it."""

    name: str
    heads: int = 0  # of so many heads each, the rows were permuted
    transposed: bool = False


class Values:
    """The metadata of an architecture: a value is held against what it must be when it is asked for."""

    def __init__(self, metadata: Mapping[str, Any], path: Path) -> None:
        self.metadata, self.path = metadata, path
        self.architecture = str(metadata.get("general.architecture", ""))

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer; a list of them, one a layer, must say the same for all layers."""
        value = self._value(key, default)
        if isinstance(value, np.ndarray) and len(value) and (value == value[0]).all():
            value = value[0].item()
        if type(value) is not int or not 0 < value <= LARGEST_SIZE:
            raise self.error(key, value, f"one integer from 1 to {LARGEST_SIZE}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive float."""
        value = self._value(key, default)
        if not isinstance(value, float) or not isfinite(value) or value <= 0:
            raise self.error(key, value, "a positive float")
        return value

    def text(self, key: str, default: str = "") -> str:
        value = self._value(key, default)
        if not isinstance(value, str):
            raise self.error(key, value, "a text")
        return value

    def has(self, key: str) -> bool:
        return self._full(key) in self.metadata

    def error(self, key: str, value: Any, must: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {self._full(key)} must be {must}, but is {shown(value)}")

    def _value(self, key: str, default: Any) -> Any:
        value = self.metadata.get(self._full(key), default)
        if value is None:
            raise CheckpointError(f"{self.path} has no {self._full(key)}")
        return value

    def _full(self, key: str) -> str:
        return key if key.startswith(("general.", "tokenizer.")) else f"{self.architecture}.{key}"


Tensors = Mapping[str, Stored]


def hugging_face_config(
    metadata: Mapping[str, Any], tensors: Tensors, rope_factors: np.ndarray | None, path: Path
) -> dict[str, Any]:
    """What a config.json would say of the model; sizes that the tensors tell better are taken from them.

    rope_factors: the values of the tensor ROPE_FACTORS where there is one.
    """
    values = Values(metadata, path)
    layout = _layout(values)
    experts = metadata.get(f"{values.architecture}.expert_count", 0)
    if type(experts) is not int or experts:
        raise CheckpointError(f"{path} is a mixture of experts, which Regard has no form for")
    table = _table(tensors, path)
    vocab_size = table.shape[0]
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, list) and len(tokens) > vocab_size:
        raise CheckpointError(f"{path} has {len(tokens):,} tokens for {vocab_size:,} rows of token_embd.weight")
    config = {
        "vocab_size": vocab_size,
        "tie_word_embeddings": "output.weight" not in tensors,
        "dtype": _dtype(tensors),
        **{f"{role}_token_id": token for role, token in token_ids(metadata, vocab_size, path)._asdict().items()},
        **layout.config(values, tensors, rope_factors),
    }
    del config["unk_token_id"]  # the tokenizer's business
    if config[layout.depth] > len(tensors):
        raise values.error("block_count", config[layout.depth], f"at most {len(tensors)}, the number of tensors")
    return config


def hugging_face_sources(
    metadata: Mapping[str, Any], tensors: Tensors, config: Mapping[str, Any], path: Path
) -> dict[str, Source]:
    """Every tensor of the file by its Hugging Face name; one that llama.cpp's own names do not have keeps its name."""
    values = Values(metadata, path)
    layout = _layout(values)
    sources: dict[str, Source] = {}
    for name, stored in tensors.items():
        if name == ROPE_FACTORS:  # by now in the config
            continue
        theirs, source = _named(name, layout, config)
        if source.heads and stored.shape[0] % (2 * source.heads):
            raise CheckpointError(f"{path}: {name} {stored.shape} has no even number of rows for {source.heads} heads")
        if theirs in sources:
            raise CheckpointError(f"{path}: {shown(name)} and {shown(sources[theirs].name)} are both {shown(theirs)}")
        sources[theirs] = source
    return sources


def _named(name: str, layout: "Layout", config: Mapping[str, Any]) -> tuple[str, Source]:
    match = re.fullmatch(r"(blk\.)?(?(1)(?P<layer>0|[1-9][0-9]*)\.)(?P<part>[a-z_]+)\.(?P<end>weight|bias)", name)
    if match is None:
        return name, Source(name)
    part = match["part"]
    known = layout.names.get(f"{match[1] or ''}{part}")
    if known is None:
        return name, Source(name)
    heads = config[layout.permuted[part]] if part in layout.permuted else 0
    return f"{known.format(match['layer'])}.{match['end']}", Source(name, heads, part in layout.transposed)


class TokenIds(NamedTuple):
    bos: int | None
    eos: int | None
    pad: int | None
    unk: int | None


def token_ids(metadata: Mapping[str, Any], vocab_size: int, path: Path) -> TokenIds:
    """The special tokens that have a role; None for one that the file does not name."""
    values = Values(metadata, path)
    llama = values.text("tokenizer.ggml.model") == "llama"
    defaults = {"bos": 1, "eos": 2, "unknown": 0} if llama else {}

    def token(role: str) -> int | None:
        key = f"tokenizer.ggml.{role}_token_id"
        value = metadata.get(key, defaults.get(role))
        if value is None or (type(value) is int and value in (NO_TOKEN, -1)):
            return None
        if type(value) is not int or not 0 <= value < vocab_size:
            raise values.error(key, value, f"a token of the vocabulary of {vocab_size:,}")
        return value

    return TokenIds(token("bos"), token("eos"), token("padding"), token("unknown"))


def _table(tensors: Tensors, path: Path) -> Stored:
    table = tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise CheckpointError(f"{path} has no table of embeddings (token_embd.weight, two axes)")
    return table


def _dtype(tensors: Tensors) -> str:
    """What most of the values are stored as; what is quantised counts as float32, which it becomes."""
    sizes: Counter[str] = Counter()
    for stored in tensors.values():
        sizes[HALF_FLOATS.get(stored.kind.name, "float32")] += prod(stored.shape)
    return sizes.most_common(1)[0][0]


def _rotary_config(values: Values, tensors: Tensors, rope_factors: np.ndarray | None) -> dict[str, Any]:
    """Llama, Mistral, Qwen2 and Qwen3, whose configs agree in all but a key or two."""
    width, heads = values.size("embedding_length"), values.size("attention.head_count")
    if width % heads and not values.has("attention.key_length"):
        raise values.error("attention.head_count", heads, f"a divisor of the width {width}")
    head_width = values.size("attention.key_length", width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if values.size(key, head_width) != head_width:
            raise values.error(key, values.size(key), f"the width of a head, {head_width}")
    model_type = _model_type(values, tensors)
    own: dict[str, dict[str, Any]] = {
        "llama": {"attention_bias": "blk.0.attn_q.bias" in tensors, "mlp_bias": "blk.0.ffn_up.bias" in tensors},
        "mistral": {"sliding_window": _window(values)},
        "qwen2": {"use_sliding_window": False},
        "qwen3": {"use_sliding_window": False, "attention_bias": "blk.0.attn_q.bias" in tensors},
    }
    return {
        "model_type": model_type,
        "architectures": [f"{model_type.capitalize()}ForCausalLM"],
        "hidden_size": width,
        "intermediate_size": values.size("feed_forward_length"),
        "num_hidden_layers": values.size("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": values.size("attention.head_count_kv", heads),
        "head_dim": head_width,
        "hidden_act": "silu",
        "max_position_embeddings": values.size("context_length"),
        "rms_norm_eps": values.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rope(values, rope_factors, head_width),
        **own[model_type],
    }


def _model_type(values: Values, tensors: Tensors) -> str:
    """llama.cpp calls Mistral llama, too; the two differ in the sliding window, and Llama alone may have biases."""
    if values.architecture != "llama" or "blk.0.attn_q.bias" in tensors:
        return values.architecture
    named = "mistral" in values.text("general.name", "").lower()
    return "mistral" if named or _window(values) else "llama"


def _window(values: Values) -> int | None:
    return values.size("attention.sliding_window") if values.has("attention.sliding_window") else None


def _gpt2_config(values: Values, tensors: Tensors, rope_factors: np.ndarray | None) -> dict[str, Any]:
    # The converter writes 4 times the width as feed_forward_length, whatever n_inner was.
    up = tensors.get("blk.0.ffn_up.weight")
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": values.size("embedding_length"),
        "n_inner": values.size("feed_forward_length") if up is None else up.shape[0],
        "n_layer": values.size("block_count"),
        "n_head": values.size("attention.head_count"),
        "n_positions": values.size("context_length"),
        "activation_function": "gelu_new",
        "layer_norm_epsilon": values.number("attention.layer_norm_epsilon"),
    }


def _rope(values: Values, factors: np.ndarray | None, head_width: int) -> dict[str, Any]:
    theta = {"rope_theta": values.number("rope.freq_base", 10000.0)}
    kind = values.text("rope.scaling.type", "none")
    if factors is not None and not (factors == 1).all():
        return {**theta, **llama3_scaling(factors, theta["rope_theta"], head_width, values.path)}
    if kind == "none":
        return {"rope_type": "default", **theta}
    if kind == "linear":
        return {"rope_type": "linear", **theta, "factor": values.number("rope.scaling.factor")}
    if kind == "yarn":
        original = values.size("rope.scaling.original_context_length")
        scaling = {"factor": values.number("rope.scaling.factor"), "original_max_position_embeddings": original}
        return {"rope_type": "yarn", **theta, **scaling}
    raise values.error("rope.scaling.type", kind, "none, linear or yarn")


def llama3_scaling(factors: np.ndarray, theta: float, head_width: int, path: Path) -> dict[str, Any]:
    """The parameters of Llama 3's scaling from what it divides each frequency by, which is all that the file keeps.

    Frequencies above one bound are divided by 1, those below another by `factor`, and between the two the division
    fades: smooth = (original * frequency / 2 pi - low) / (high - low). Only the ratios of original, low and high
    show in that, so low is 1, as in every Llama.
    """
    if factors.shape != (head_width // 2,):
        raise CheckpointError(f"{path}: {ROPE_FACTORS} must have shape ({head_width // 2},), but has {factors.shape}")
    frequencies = theta ** (-np.arange(0, head_width, 2) / head_width)
    factor = float(str(factors.max()))
    with np.errstate(all="ignore"):  # a candidate of nonsense is no match
        for high, original in [LLAMA3_1, *_fitted(factors, frequencies, factor)]:
            if np.allclose(_llama3_factors(frequencies, factor, high, original), factors, rtol=1e-4):
                return {
                    "rope_type": "llama3",
                    "factor": factor,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": high,
                    "original_max_position_embeddings": original,
                }
    raise CheckpointError(f"{path}: {ROPE_FACTORS} scales the rotary frequencies otherwise than Llama 3 does")


def _llama3_factors(frequencies: np.ndarray, factor: float, high: float, original: float) -> np.ndarray:
    smooth = np.clip((original * frequencies / (2 * pi) - 1) / (high - 1), 0, 1)
    return 1 / ((1 - smooth) / factor + smooth)


def _fitted(factors: np.ndarray, frequencies: np.ndarray, factor: float) -> list[tuple[float, int]]:
    """`high` and `original` from the frequencies between the bounds, where `smooth` is a straight line."""
    between = (factors > 1) & (factors < factor)
    if between.sum() < 2:
        return []
    smooth = (factor / factors[between].astype(np.float64) - 1) / (factor - 1)
    x, y = frequencies[between], smooth
    slope = (y[0] - y[-1]) / (x[0] - x[-1])
    high = 1 + 1 / (slope * x[0] - y[0])
    original = 2 * pi * slope * (high - 1)
    return [(round(float(high), 4), round(float(original)))] if np.isfinite([high, original]).all() else []


class Layout(NamedTuple):
    """An architecture of llama.cpp."""

    config: Callable[[Values, Tensors, np.ndarray | None], dict[str, Any]]
    names: dict[str, str]  # a tensor's -> Hugging Face's, {} for the layer; both without .weight or .bias
    depth: str  # what the config calls the number of layers
    permuted: dict[str, str]  # tensors -> what the config calls their number of heads
    transposed: frozenset[str]


_ROTARY_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.attn_norm": "model.layers.{}.input_layernorm",
    "blk.attn_q": "model.layers.{}.self_attn.q_proj",
    "blk.attn_k": "model.layers.{}.self_attn.k_proj",
    "blk.attn_v": "model.layers.{}.self_attn.v_proj",
    "blk.attn_output": "model.layers.{}.self_attn.o_proj",
    "blk.attn_q_norm": "model.layers.{}.self_attn.q_norm",
    "blk.attn_k_norm": "model.layers.{}.self_attn.k_norm",
    "blk.ffn_norm": "model.layers.{}.post_attention_layernorm",
    "blk.ffn_gate": "model.layers.{}.mlp.gate_proj",
    "blk.ffn_up": "model.layers.{}.mlp.up_proj",
    "blk.ffn_down": "model.layers.{}.mlp.down_proj",
}
_GPT2_NAMES = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.attn_norm": "transformer.h.{}.ln_1",
    "blk.attn_qkv": "transformer.h.{}.attn.c_attn",
    "blk.attn_output": "transformer.h.{}.attn.c_proj",
    "blk.ffn_norm": "transformer.h.{}.ln_2",
    "blk.ffn_up": "transformer.h.{}.mlp.c_fc",
    "blk.ffn_down": "transformer.h.{}.mlp.c_proj",
}
_PERMUTED = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
# GPT-2's kernels are (in, out) at Hugging Face, and (out, in) as all others here.
_TRANSPOSED = frozenset({"attn_qkv", "attn_output", "ffn_up", "ffn_down"})

LAYOUTS = {
    "llama": Layout(_rotary_config, _ROTARY_NAMES, "num_hidden_layers", _PERMUTED, frozenset()),
    "qwen2": Layout(_rotary_config, _ROTARY_NAMES, "num_hidden_layers", {}, frozenset()),
    "qwen3": Layout(_rotary_config, _ROTARY_NAMES, "num_hidden_layers", {}, frozenset()),
    "gpt2": Layout(_gpt2_config, _GPT2_NAMES, "n_layer", {}, _TRANSPOSED),
}


def _layout(values: Values) -> Layout:
    if values.architecture not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise CheckpointError(
            f"{values.path} is of the architecture {shown(values.architecture)}, and Regard reads {known} from GGUF"
        )
    return LAYOUTS[values.architecture]
