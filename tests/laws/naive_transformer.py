"""The Transformer in plain NumPy, written from the paper's equations alone: the reference of the reference.

Vaswani et al. 2017, "Attention Is All You Need"; section numbers are the paper's. One sequence at a time, a loop over
heads, nothing fused, nothing cached, every array in the dtype of the parameters (float64 for gradients). Parameters are
dicts of arrays under the paper's symbols, row vectors times matrices as the paper writes them:

    attention     W_Q W_K W_V (h, d_model, d_k), W_O (h * d_v, d_model); optionally b_Q b_K b_V (h, d_k), b_O (d_model,)
    feed_forward  W_1 (d_model, d_ff), b_1 (d_ff,), W_2 (d_ff, d_model), b_2 (d_model,)
    norm          gamma, beta (d_model,)
    layer         {"self_attention", "norm_1", ["cross_attention", "norm_2",] "feed_forward", "norm_3"}
    parameters    {"E": (V, d_model), "encoder": [layers], "decoder": [layers],
                   for pre-norm also "encoder_norm", "decoder_norm"; optionally "b_logits": (V,)}

T is the length of what asks, S of what is asked; `allowed` (T, S) is True where it may look.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Array = np.ndarray
Parameters = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """What the parameters' shapes do not say."""

    norm_order: Literal["post", "pre"] = "post"
    layout: Literal["interleaved", "halves"] = "interleaved"
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] = "relu"
    epsilon: float = 1e-5
    scale_embedding: bool = True


# 3.2 Attention


def softmax(scores: Array) -> Array:
    """exp(x_j) / sum_k exp(x_k) over the last axis; the maximum is taken off first, which changes nothing."""
    exponentials = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def scaled_dot_product_attention(Q: Array, K: Array, V: Array, allowed: Array) -> tuple[Array, Array]:
    """softmax(Q K^T / sqrt(d_k)) V, equation 1; what is illegal at -inf (3.2.3): (T, d_v), and the weights (T, S)."""
    scores = Q @ K.T / math.sqrt(Q.shape[-1])
    weights = softmax(np.where(allowed, scores, -np.inf))
    return weights @ V, weights


def multi_head_attention(queries: Array, memory: Array, p: Parameters, allowed: Array) -> tuple[Array, Array]:
    """Concat(head_1, ..., head_h) W_O with head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V) (3.2.2), weights (h, T, S)."""
    heads, weights = [], []
    for i in range(len(p["W_Q"])):
        Q = queries @ p["W_Q"][i] + bias(p, "b_Q", i)
        K = memory @ p["W_K"][i] + bias(p, "b_K", i)
        V = memory @ p["W_V"][i] + bias(p, "b_V", i)
        head, looks = scaled_dot_product_attention(Q, K, V, allowed)
        heads.append(head)
        weights.append(looks)
    output = np.concatenate(heads, axis=-1) @ p["W_O"] + p.get("b_O", 0)
    return output, np.stack(weights)


def bias(p: Parameters, name: str, head: int) -> Any:
    return p[name][head] if name in p else 0


def causal(T: int) -> Array:
    """Position t attends to positions up to and including t (3.2.3)."""
    return np.array([[s <= t for s in range(T)] for t in range(T)])


# 3.3 Position-wise feed-forward networks


def relu(x: Array) -> Array:
    return np.maximum(0, x)


def gelu(x: Array) -> Array:
    """x Phi(x), exactly (Hendrycks and Gimpel 2016)."""
    phi = np.vectorize(lambda value: 0.5 * (1 + math.erf(value / math.sqrt(2))), otypes=[x.dtype])
    return x * phi(x)


def gelu_tanh(x: Array) -> Array:
    """The same paper's approximation."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Array) -> Array:
    """x sigmoid(x)."""
    return x / (1 + np.exp(-x))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu}


def feed_forward(x: Array, p: Parameters, activation: str) -> Array:
    """max(0, x W_1 + b_1) W_2 + b_2, equation 2, or another activation in the place of max."""
    return ACTIVATIONS[activation](x @ p["W_1"] + p["b_1"]) @ p["W_2"] + p["b_2"]


# 3.1 Encoder and decoder stacks


def layer_norm(x: Array, p: Parameters, epsilon: float) -> Array:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over the width (Ba et al. 2016)."""
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return p["gamma"] * (x - mean) / np.sqrt(variance + epsilon) + p["beta"]


def sublayer(x: Array, norm: Parameters, settings: Settings, function: Callable[[Array], Array]) -> Array:
    """LayerNorm(x + Sublayer(x)) as the paper has it; or x + Sublayer(LayerNorm(x)), pre-norm (Xiong et al. 2020)."""
    if settings.norm_order == "post":
        return layer_norm(x + function(x), norm, settings.epsilon)
    return x + function(layer_norm(x, norm, settings.epsilon))


def encoder_layer(x: Array, p: Parameters, allowed: Array, settings: Settings) -> Array:
    def attend(y: Array) -> Array:
        return multi_head_attention(y, y, p["self_attention"], allowed)[0]

    def feed(y: Array) -> Array:
        return feed_forward(y, p["feed_forward"], settings.activation)

    x = sublayer(x, p["norm_1"], settings, attend)
    return sublayer(x, p["norm_3"], settings, feed)


def decoder_layer(
    x: Array, memory: Array, p: Parameters, allowed: Array, memory_allowed: Array, settings: Settings
) -> tuple[Array, Array]:
    """The layer's output (T, d_model) and its cross-attention (h, T, S)."""
    looks = []

    def attend(y: Array) -> Array:
        return multi_head_attention(y, y, p["self_attention"], allowed)[0]

    def cross_attend(y: Array) -> Array:
        output, weights = multi_head_attention(y, memory, p["cross_attention"], memory_allowed)
        looks.append(weights)
        return output

    def feed(y: Array) -> Array:
        return feed_forward(y, p["feed_forward"], settings.activation)

    x = sublayer(x, p["norm_1"], settings, attend)
    x = sublayer(x, p["norm_2"], settings, cross_attend)
    return sublayer(x, p["norm_3"], settings, feed), looks[0]


def encode(ids: Array, real: Array, p: Parameters, settings: Settings) -> Array:
    """ids (S,), real (S,) True for what is no padding -> the memory (S, d_model)."""
    x = embed(ids, real, p["E"], settings)
    allowed = np.tile(real, (len(ids), 1))
    for layer in p["encoder"]:
        x = encoder_layer(x, layer, allowed, settings)
    return final_norm(x, p, "encoder_norm", settings)


def decode(
    ids: Array, real: Array, memory: Array, memory_real: Array, p: Parameters, settings: Settings
) -> tuple[Array, Array]:
    """ids, real (T,), memory (S, d_model), memory_real (S,) -> hidden (T, d_model), cross-attention (L, h, T, S)."""
    x = embed(ids, real, p["E"], settings)
    T = len(ids)
    allowed, memory_allowed = causal(T) & np.tile(real, (T, 1)), np.tile(memory_real, (T, 1))
    looks = []
    for layer in p["decoder"]:
        x, weights = decoder_layer(x, memory, layer, allowed, memory_allowed, settings)
        looks.append(weights)
    return final_norm(x, p, "decoder_norm", settings), np.stack(looks)


def final_norm(x: Array, p: Parameters, name: str, settings: Settings) -> Array:
    """What ends a pre-norm stack; a post-norm layer has normalised already."""
    return layer_norm(x, p[name], settings.epsilon) if name in p else x


# 3.4 Embeddings and softmax, 3.5 Positional encoding


def positional_encoding(position: int, d_model: int, layout: str) -> Array:
    """PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) = cos(the same); "halves": sines come first."""
    encoding = np.zeros(d_model)
    for i in range(d_model // 2):
        angle = position / 10000 ** (2 * i / d_model)
        sine, cosine = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, d_model // 2 + i)
        encoding[sine], encoding[cosine] = math.sin(angle), math.cos(angle)
    return encoding


def embed(ids: Array, real: Array, E: Array, settings: Settings) -> Array:
    """E[ids] sqrt(d_model) + PE; positions count real tokens, so padding on the left moves nothing, and go on counting
    over the padding after the last of them."""
    d_model = E.shape[1]
    rows, position = [], -1
    last = max((place for place, counts in enumerate(real) if counts), default=len(real))
    for place, (token, counts) in enumerate(zip(ids, real, strict=True)):
        position += bool(counts) or place > last
        row = E[token] * math.sqrt(d_model) if settings.scale_embedding else E[token]
        rows.append(row + positional_encoding(max(position, 0), d_model, settings.layout).astype(E.dtype))
    return np.stack(rows)


def logits_of(hidden: Array, p: Parameters) -> Array:
    """The pre-softmax transformation shares the embedding's matrix (3.4)."""
    return hidden @ p["E"].T + p.get("b_logits", 0)


def transformer(
    source: Array, source_real: Array, target: Array, target_real: Array, p: Parameters, settings: Settings
) -> tuple[Array, Array]:
    """A batch, row by row: source (B, S), what the decoder reads (B, T) -> logits (B, T, V), cross (L, B, h, T, S).

    The first token of a target must be real, and some token of a source: a row of softmax needs something to look at.
    """
    logits, looks = [], []
    for b in range(len(source)):
        memory_real, real = source_real[b].astype(bool), target_real[b].astype(bool)
        memory = encode(source[b], memory_real, p, settings)
        hidden, cross = decode(target[b], real, memory, memory_real, p, settings)
        logits.append(logits_of(hidden, p))
        looks.append(cross)
    return np.stack(logits), np.stack(looks, axis=1)


# 5.4 Label smoothing


def cross_entropy(logits: Array, labels: Array, epsilon: float = 0.0, ignored: int = -100) -> tuple[float, int]:
    """The sum over labels of -sum_k q(k) log softmax(logits)_k, and their count; q(k) = (1 - eps)[k = label] + eps / V.

    Szegedy et al. 2016, section 7. logits (B, T, V), labels (B, T).
    """
    total, count = 0.0, 0
    V = logits.shape[-1]
    for b, t in np.ndindex(*labels.shape):
        if labels[b, t] == ignored:
            continue
        log_p = np.log(softmax(logits[b, t]))
        for k in range(V):
            q = (1 - epsilon) * (k == labels[b, t]) + epsilon / V
            total -= q * log_p[k]
        count += 1
    return float(total), count
