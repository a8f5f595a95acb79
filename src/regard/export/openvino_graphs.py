"""A spec and its weights -> OpenVINO's graphs: an encoder, run once a batch, and a decoder, run once a token."""

import math

import numpy as np
import openvino as ov
from openvino import opset13 as op

from regard.export.openvino_layers import Memory, Network, Sight, split_heads
from regard.export.openvino_nodes import (
    ACTIVATIONS,
    Matrix,
    Node,
    Stored,
    Weights,
    axis,
    integers,
    named,
    numbers,
    sizes,
    split,
    whole,
)
from regard.specs import AudioSpec, EmbeddingSpec, ModelSpec, PatchSpec, PositionSpec
from regard.specs.tables import position_table

_TABLE = "embedding/table"
_BIASES = ("head/output/bias", "head/bias")
_OFFERED_BLOCK = 32  # tokens of a shortlist whose maximum is taken at once
OFFERED = 512  # what the tokens of a shortlist are a multiple of: each other number means other kernels


def encoder_graph(spec: ModelSpec, weights: Weights, stored: Stored) -> ov.Model:
    """What the encoder reads, by the keys of a batch -> memory_keys_i and memory_values_i of each layer i of the
    decoder, (B, K, H, S) and (B, K, S, H)."""
    assert spec.encoder is not None
    assert spec.decoder is not None
    network, real = Network(weights, stored), None
    inputs: list[Node]
    if isinstance(spec.source, PatchSpec):
        inputs, x = _patches(network, spec.source)
    elif isinstance(spec.source, AudioSpec):
        inputs, x = _frames(network, spec.source)
    else:
        inputs = [_input("input_ids"), _input("attention_mask")]
        real = inputs[1]
        x = _embedded(network, spec, "encoder", inputs[0], _placed(inputs[0], real, spec.text))
    places = whole(0) if real is None else _counted(real)
    if real is None:  # no layer over patches or frames asks where they are
        places = op.broadcast(places, sizes(x, 0, 1))
    x = network.stack(x, "encoder", spec.encoder, Sight(real, places, places))
    if weights("decoder/memory_projection/kernel") is not None:
        x = network.affine(x, "decoder/memory_projection")
    layer, results = spec.decoder.layer, []
    for i in range(spec.decoder.depth):
        both = split(network.affine(x, f"decoder/layer_{i}/cross_attention/key_value"), 2)
        keys, values = (split_heads(part, layer.keys_heads, layer.head_width) for part in both)
        keys = op.transpose(keys, integers(0, 1, 3, 2))  # once, where attention would do it for each token
        results += [named(op.result(part), f"memory_{name}_{i}") for name, part in (("keys", keys), ("values", values))]
    return ov.Model(results, inputs, "encoder")


def output_graph(spec: ModelSpec, weights: Weights, stored: Stored) -> ov.Model:
    """tokens (C,) int32 -> what the output layer has for them: output_rows (C, D), output_bias (C,)."""
    network, tokens = Network(weights, stored), _input("tokens", [-1])
    biases = [network.weights(path) for path in _BIASES]
    bias = sum((each.reshape(-1) for each in biases if each is not None), np.zeros(spec.text.vocab_size, np.float32))
    of_tokens = {
        "output_rows": _output_matrix(network, spec).rows(tokens),
        "output_bias": op.gather(numbers(bias), tokens, integers(0)),
    }
    results = [named(op.result(found), name) for name, found in of_tokens.items()]
    return ov.Model(results, [tokens], "output")


def decoder_graph(spec: ModelSpec, weights: Weights, stored: Stored, shortlisted: bool = False) -> ov.Model:
    """The next tokens of R rows after what the cache holds.

    input_ids, position_ids: (R, T) int32; attention_mask: (R, S) int32, of all tokens with these; beam_idx: (R,) int32,
    the row of the cache that each goes on from; memory_...: see `encoder_graph`, memory_mask (B, 1, 1, S) to be added;
    bias: (V,) to be added to the logits of the best tokens; count: int64, how many these are; last: (1,) int64, of how
    many tokens at a row's end the results are.
    Gives logits (R, V) of each row's last token, and its best tokens: log_probs (R, C), ids (R, C) int32.

    shortlisted: only some tokens are scored, in the places of V; their number is a multiple of OFFERED. output_rows:
    (V, D), see `output_graph`; offered: (B, 1, V), to be added to the logits before the softmax.
    """
    assert spec.decoder is not None
    ids, real, places, beams = (_input(name) for name in ("input_ids", "attention_mask", "position_ids", "beam_idx"))
    network, inputs = Network(weights, stored, beams, sizes(ids, 0)), [ids, real, places, beams]
    memory = None
    if spec.encoder is not None:
        memory = _memory(spec)
        inputs += [*memory.keys, *memory.values, memory.mask]
    x = _embedded(network, spec, "decoder", ids, places)
    bias, count, last = (_input("bias", [-1], np.float32), _input("count", [], np.int64), _input("last", [1], np.int64))
    sight = Sight(real, places, _counted(real), _text_ends(places, last))
    x = network.stack(x, "decoder", spec.decoder, sight, memory)
    ends = op.slice(x, op.negative(last), integers(2**31 - 1), integers(1), integers(1))
    ends = op.reshape(ends, integers(-1, spec.decoder.layer.width), False)
    if shortlisted:
        offered = [_input("output_rows", [-1, spec.decoder.layer.width], np.float32)]
        offered.append(_input("offered", [-1, 1, -1], np.float32))
        logits, block = _offered_logits(network, spec, ends, *offered), _OFFERED_BLOCK
        inputs += offered
    else:
        logits, block = _logits(network, spec, ends), _block_length(spec.text.vocab_size)
    best, best_ids = _best(op.add(logits, bias), count, block, None if shortlisted else spec.text.vocab_size)
    results = {"logits": logits, "log_probs": op.subtract(best, _log_sum_exp(logits)), "ids": best_ids}
    named_results = [named(op.result(node), name) for name, node in results.items()]
    return ov.Model(named_results, network.sinks, [*inputs, bias, count, last], network.variables, "decoder")


def _text_ends(places: Node, last: Node) -> Node:
    """Where the text ends for each token: at the first of the `last` ones, for whose sake these are read, and for those
    after it, which are guesses, at themselves. (R, T) int32."""
    first = op.gather(places, op.subtract(sizes(places, 1), last), integers(1))
    return op.maximum(places, first)


def _input(name: str, shape: list[int] | None = None, dtype: type = np.int32) -> Node:
    rank_one = name == "beam_idx"
    return named(op.parameter(([-1] if rank_one else [-1, -1]) if shape is None else shape, dtype, name=name), name)


def _memory(spec: ModelSpec) -> Memory:
    assert spec.decoder is not None
    layer = spec.decoder.layer
    shapes = {
        "keys": [-1, layer.keys_heads, layer.head_width, -1],
        "values": [-1, layer.keys_heads, -1, layer.head_width],
    }
    keys, values = (
        tuple(_input(f"memory_{name}_{i}", shape, np.float32) for i in range(spec.decoder.depth))
        for name, shape in shapes.items()
    )
    return Memory(keys, values, _input("memory_mask", [-1, 1, 1, -1], np.float32))


def _counted(real: Node) -> Node:
    """Places among the real tokens; padding repeats a neighbour's."""
    return op.maximum(op.subtract(op.cum_sum(real, axis(1)), whole(1)), whole(0))


def _placed(ids: Node, real: Node, spec: EmbeddingSpec) -> Node:
    """Places among the real tokens, or those that are not the padding's id; that one stands before the first."""
    if not spec.positions.skips_padding:
        return _counted(real)
    assert spec.pad_id is not None
    text = op.logical_and(op.not_equal(ids, whole(spec.pad_id)), op.greater(real, whole(0)))
    return op.select(text, _counted(op.convert(text, np.int32)), whole(-1))


def _embedded(network: Network, spec: ModelSpec, side: str, ids: Node, places: Node) -> Node:
    text = spec.text
    x = network.matrix(_table_of(network, side)).rows(ids)
    if text.scale:
        x = op.multiply(x, numbers(text.width**0.5))
    types = network.weights(f"{side}/stem/token_types")
    if types is not None:
        x = op.add(x, numbers(types[0]))
    if text.positions.kind != "none":
        x = op.add(x, _positions(network, text.positions, text.width, side, places))
    return network.norm(x, f"{side}/stem/norm", text.norm_epsilon) if text.norm else x


def _table_of(network: Network, side: str) -> str:
    """The path of the token table of one side: both read one where the decoder has none of its own."""
    own = f"{side}/{_TABLE}"
    return own if network.weights(own) is not None else f"encoder/{_TABLE}"


def _positions(network: Network, spec: PositionSpec, width: int, side: str, places: Node) -> Node:
    computed = spec.kind == "sinusoidal"
    table = position_table(spec, width) if computed else network.needed(f"{side}/stem/positions/table")
    return op.gather(numbers(table), op.add(places, whole(spec.offset)), integers(0))


def _patches(network: Network, spec: PatchSpec) -> tuple[list[Node], Node]:
    """pixel_values (B, height, width, C) -> (B, extra + P, D), as `nn.stems.PatchStem`."""
    pixels = _input("pixel_values", [-1, spec.image_height, spec.image_width, spec.channels], np.float32)
    height, width = spec.patch_height, spec.patch_width
    rows, columns = spec.image_height // height, spec.image_width // width
    ends = integers(rows * height, columns * width)
    filled = op.slice(pixels, integers(0, 0), ends, integers(1, 1), integers(1, 2))
    grid = op.reshape(filled, integers(-1, rows, height, columns, width, spec.channels), False)
    flat = integers(-1, spec.count, height * width * spec.channels)
    patches = op.reshape(op.transpose(grid, integers(0, 1, 3, 2, 4, 5)), flat, False)
    x = network.affine(patches, "encoder/stem/projection")
    if spec.extra_tokens:
        shape = op.concat([sizes(x, 0), integers(spec.extra_tokens, spec.width)], 0)
        x = op.concat([op.broadcast(numbers(network.needed("encoder/stem/extra_tokens")), shape), x], 1)
    x = op.add(x, numbers(network.needed("encoder/stem/positions/table")))
    return [pixels], network.norm(x, "encoder/stem/norm", spec.norm_epsilon) if spec.norm else x


def _frames(network: Network, spec: AudioSpec) -> tuple[list[Node], Node]:
    """input_features (B, A, M) -> (B, A / 2, D), as `nn.stems.AudioStem`."""
    length = 2 * spec.positions.max_positions
    features = _input("input_features", [-1, length, spec.mels], np.float32)
    x = op.gelu(network.affine(_threes(features, length, 1), "encoder/stem/first"), "ERF")
    x = op.gelu(network.affine(_threes(x, length, 2), "encoder/stem/second"), "ERF")
    places = op.constant(np.arange(length // 2, dtype=np.int32)[None])
    return [features], op.add(x, _positions(network, spec.positions, spec.width, "encoder", places))


def _threes(frames: Node, length: int, stride: int) -> Node:
    """Each frame with its neighbours, zeros beyond the ends."""
    padded = op.pad(frames, integers(0, 1, 0), integers(0, 1, 0), "constant", numbers(0))
    steps, along = integers(stride), integers(1)
    return op.concat([op.slice(padded, integers(i), integers(i + length), steps, along) for i in range(3)], 2)


def _best(scores: Node, count: Node, block: int, vocab_size: int | None) -> tuple[Node, Node]:
    """The `count` largest of (R, V), falling, and their ids; of equal ones the lower id first.

    They stand in the `count` blocks with the largest maxima, so that only these are sorted: OpenVINO's sort takes as
    long as all layers together where it has to walk over a whole vocabulary. vocab_size: V; None: a multiple of
    `block`.
    """
    if vocab_size is not None and vocab_size % block:
        scores = op.pad(scores, integers(0, 0), integers(0, -vocab_size % block), "constant", numbers(-np.inf))
    apart = op.reshape(scores, integers(0, -1, block), True)
    most = op.minimum(count, op.gather(op.shape_of(apart), axis(1), integers(0)))
    places = op.topk(op.reduce_max(apart, integers(2), False), most, -1, "max", "index", "i32", True).output(1)
    candidates = op.reshape(op.gather(apart, places, integers(1), 1), integers(0, -1), True)  # -> (R,C*block)
    found = op.topk(candidates, count, -1, "max", "value", "i32", True)
    block_of = op.gather(places, op.divide(found.output(1), whole(block)), integers(1), 1)
    within = op.mod(found.output(1), whole(block))
    return found.output(0), op.add(op.multiply(block_of, whole(block)), within)


def _block_length(vocab_size: int) -> int:
    """What makes both sorts short, of the blocks' maxima and of the eight best blocks, as four beams want them; and a
    divisor of the vocabulary's size where there is one: then nothing is padded."""
    near = max(1, math.isqrt(vocab_size // 8))
    divisors = [size for size in range(max(1, near // 8), 4 * near + 1) if vocab_size % size == 0]
    return min(divisors, key=lambda size: abs(math.log(size / near)), default=near)


def _log_sum_exp(logits: Node) -> Node:
    """(R, V) -> (R, 1)."""
    highest = op.reduce_max(logits, integers(-1), True)
    total = op.reduce_sum(op.exp(op.subtract(logits, highest)), integers(-1), True)
    return op.add(op.log(total), highest)


def _logits(network: Network, spec: ModelSpec, x: Node) -> Node:
    logits = op.matmul(_read_out(network, spec, x), _output_matrix(network, spec).whole(), False, True)
    for path in _BIASES:
        bias = network.weights(path)
        if bias is not None:
            logits = op.add(logits, numbers(bias.reshape(-1)))
    return logits


def _offered_logits(network: Network, spec: ModelSpec, x: Node, rows: Node, offered: Node) -> Node:
    """(R, D) -> (R, V) of the tokens that are offered to each text; it has several rows."""
    logits = op.matmul(_read_out(network, spec, x), rows, False, True)
    by_text = op.reshape(logits, op.concat([sizes(offered, 0), integers(-1), sizes(offered, 2)], 0), False)
    return op.reshape(op.add(by_text, offered), op.shape_of(logits), False)


def _read_out(network: Network, spec: ModelSpec, x: Node) -> Node:
    """The last hidden states as the output layer's table reads them."""
    if spec.output.dense is not None:
        x = ACTIVATIONS[spec.output.dense](network.affine(x, "head/dense"))
        x = network.norm(x, "head/norm", spec.output.norm_epsilon)
    return x if spec.output.scale == 1 else op.multiply(x, numbers(spec.output.scale))


def _output_matrix(network: Network, spec: ModelSpec) -> Matrix:
    """(V, D)."""
    if spec.output.tied:
        return network.matrix(_table_of(network, "decoder"))
    return network.matrix("head/output/kernel", transposed=True)
