"""Whisper (Radford et al. 2022): log-mel frames in, text out; the names are BART's, with no bias on the keys.

Its encoder alone, with a linear layer on each frame for connectionist temporal classification (Graves et al. 2006), is
our own layout, which Transformers does not have: `WhisperForCTC`, with `ctc_head` beside the encoder's tensors.
"""

from dataclasses import replace
from typing import Any

from regard.errors import CheckpointError
from regard.models.family import ACTIVATION_NAMES, Config, Family, with_own_table
from regard.models.weights import Rule, StoredTensors, linear, norm, table
from regard.specs import AudioSpec, EmbeddingSpec, HeadSpec, LayerSpec, ModelSpec, PositionSpec, StackSpec, TokenIds

ARCHITECTURES = {"hidden": "WhisperModel", "language": "WhisperForConditionalGeneration", "ctc": "WhisperForCTC"}
WITHOUT_KEY = (True, False, True)  # a bias for queries and values
TEXT_POSITIONS = 448


def from_config(config: Config) -> ModelSpec:
    """`scale_embedding` is kept unread: Transformers reads it and does not scale."""
    if config.architecture not in ("", *ARCHITECTURES.values()):
        known = ", ".join(ARCHITECTURES.values())
        raise CheckpointError(f"config.json: {config.architecture} is not supported; {known} are")
    width, dropout = config.get("d_model", 384), config.get("dropout", 0.0)
    frames = PositionSpec("stored", rates="tensor2tensor", max_positions=config.get("max_source_positions", 1500))
    pad = config.nullable("pad_token_id", 50256)
    is_ctc = config.head == "ctc"  # of frames, of which any number says its tokens; a decoder expects a whole window
    source = AudioSpec(width, config.get("num_mel_bins", 80), frames, dropout, whole_windows=not is_ctc)
    if is_ctc:
        labels = config.get("vocab_size", 51865)
        head = HeadSpec("ctc", labels=labels, bias=True, dropout=dropout)
        return ModelSpec("whisper", None, TokenIds(pad=pad), _stack(config, "encoder"), source=source, head=head)
    embedding = EmbeddingSpec(
        vocab_size=config.get("vocab_size", 51865),
        width=width,
        positions=PositionSpec("learned", max_positions=config.get("max_target_positions", TEXT_POSITIONS)),
        pad_id=pad,
        scale=False,
        dropout=dropout,
    )
    start = config.get("decoder_start_token_id", 50257)
    eos = config.eos if "eos_token_id" in config else 50256
    tied = config.get("tie_word_embeddings", True)
    return ModelSpec(
        family="whisper",
        embedding=embedding,
        tokens=TokenIds(pad=pad, eos=eos, decoder_start=start),  # bos is kept unread: nothing needs it
        source=source,
        encoder=_stack(config, "encoder"),
        decoder=_stack(config, "decoder"),
        head=HeadSpec("language", tied=tied) if config.head == "language" else HeadSpec(),
    )


def _stack(config: Config, side: str) -> StackSpec:
    width, heads = config.get("d_model", 384), config.get(f"{side}_attention_heads", 6)
    layer = LayerSpec(
        width=width,
        heads=heads,
        head_width=config.head_width(width, heads),
        ffn_width=config.get(f"{side}_ffn_dim", 1536),
        activation=config.activation("activation_function", "gelu"),
        key_bias=False,
        norm_order="pre",
        dropout=config.get("dropout", 0.0),
        attention_dropout=config.get("attention_dropout", 0.0),
        activation_dropout=config.get("activation_dropout", 0.0),
        cross_attention=side == "decoder",
    )
    return StackSpec(layer, config.get(f"{side}_layers", 4), final_norm=True)


def config(spec: ModelSpec) -> dict[str, Any]:
    assert spec.encoder is not None
    assert isinstance(spec.source, AudioSpec)
    layer = spec.encoder.layer
    return {
        "architectures": [ARCHITECTURES[spec.output.kind]],
        "model_type": "whisper",
        "is_encoder_decoder": spec.decoder is not None,
        "vocab_size": spec.vocab_size,
        "d_model": layer.width,
        "num_mel_bins": spec.source.mels,
        "max_source_positions": spec.source.positions.max_positions,
        **_stack_config("encoder", spec.encoder),
        "activation_function": ACTIVATION_NAMES[layer.activation],
        "dropout": layer.dropout,
        "attention_dropout": layer.attention_dropout,
        "activation_dropout": layer.activation_dropout,
        "pad_token_id": spec.tokens.pad,
        **({} if spec.decoder is None else _decoder_config(spec, spec.decoder)),
    }


def _decoder_config(spec: ModelSpec, decoder: StackSpec) -> dict[str, Any]:
    return {
        "max_target_positions": spec.text.positions.max_positions,
        **_stack_config("decoder", decoder),
        "eos_token_id": spec.tokens.eos,
        "bos_token_id": spec.tokens.bos,  # none, where a config has kept none: absent, it would be 50256
        "decoder_start_token_id": spec.tokens.decoder_start,
        "tie_word_embeddings": spec.output.tied,
    }


def _stack_config(side: str, stack: StackSpec) -> dict[str, int]:
    return {
        f"{side}_layers": stack.depth,
        f"{side}_attention_heads": stack.layer.heads,
        f"{side}_ffn_dim": stack.layer.ffn_width,
    }


def rules(spec: ModelSpec) -> list[Rule]:
    assert spec.encoder is not None
    base = "" if spec.output.kind == "hidden" else "model."
    found = [*_stem(spec.source, f"{base}encoder"), *_layers("encoder", f"{base}encoder", spec.encoder)]
    if spec.decoder is None:
        return found + linear("head/output", ("ctc_head",), spec.encoder.layer.width, spec.output.labels)
    width, rows, vocab_size = spec.text.width, spec.text.positions.max_positions, spec.text.vocab_size
    found += [
        table("decoder/embedding/table", f"{base}decoder.embed_tokens.weight", vocab_size, width),
        table("decoder/stem/positions/table", f"{base}decoder.embed_positions.weight", rows, width),
        *_layers("decoder", f"{base}decoder", spec.decoder),
    ]
    if spec.output.kind == "language" and not spec.output.tied:
        found += linear("head/output", ("proj_out",), width, vocab_size, bias=False)
    return found


def _stem(source: Any, theirs: str) -> list[Rule]:
    assert isinstance(source, AudioSpec)
    width = source.width
    rows = source.positions.max_positions
    found = [table("encoder/stem/positions/table", f"{theirs}.embed_positions.weight", rows, width)]
    for path, name, reads in (("first", "conv1", source.mels), ("second", "conv2", width)):
        ours, weight, stored = f"encoder/stem/{path}", f"{theirs}.{name}.weight", (width, reads, 3)
        found += [
            Rule(f"{ours}/kernel", (weight,), (3 * reads, width), "frames", stored=stored),
            Rule(f"{ours}/bias", (f"{theirs}.{name}.bias",), (width,)),
        ]
    return found


def _layers(side: str, theirs: str, stack: StackSpec) -> list[Rule]:
    found = []
    for i in range(stack.depth):
        found += _layer(f"{side}/layer_{i}", f"{theirs}.layers.{i}", stack.layer)
    return found + norm(f"{side}/final_norm", f"{theirs}.layer_norm", stack.layer.width)


def _layer(ours: str, theirs: str, layer: LayerSpec) -> list[Rule]:
    width = layer.width
    q, k, v = (f"{theirs}.self_attn.{name}_proj" for name in "qkv")
    found = [
        *norm(f"{ours}/self_attention_norm", f"{theirs}.self_attn_layer_norm", width),
        *linear(f"{ours}/self_attention/query_key_value", (q, k, v), width, width, bias=WITHOUT_KEY),
        *linear(f"{ours}/self_attention/output", (f"{theirs}.self_attn.out_proj",), width, width),
    ]
    if layer.cross_attention:
        q, k, v = (f"{theirs}.encoder_attn.{name}_proj" for name in "qkv")
        found += [
            *norm(f"{ours}/cross_attention_norm", f"{theirs}.encoder_attn_layer_norm", width),
            *linear(f"{ours}/cross_attention/query", (q,), width, width),
            *linear(f"{ours}/cross_attention/key_value", (k, v), width, width, bias=WITHOUT_KEY[1:]),
            *linear(f"{ours}/cross_attention/output", (f"{theirs}.encoder_attn.out_proj",), width, width),
        ]
    return [
        *found,
        *norm(f"{ours}/feed_forward_norm", f"{theirs}.final_layer_norm", width),
        *linear(f"{ours}/feed_forward/up", (f"{theirs}.fc1",), width, layer.ffn_width),
        *linear(f"{ours}/feed_forward/down", (f"{theirs}.fc2",), layer.ffn_width, width),
    ]


def with_decoder(frames: ModelSpec, tokens: TokenIds) -> ModelSpec:
    """A transcriber that hears with this encoder of frames, and writes with a decoder as deep."""
    assert frames.encoder is not None
    assert isinstance(frames.source, AudioSpec)
    layer = frames.encoder.layer
    positions = PositionSpec("learned", max_positions=TEXT_POSITIONS)
    embedding = EmbeddingSpec(
        vocab_size=frames.output.labels,
        width=layer.width,
        positions=positions,
        pad_id=frames.tokens.pad,
        scale=False,
        dropout=layer.dropout,
    )
    return ModelSpec(
        family="whisper",
        embedding=embedding,
        tokens=replace(tokens, pad=frames.tokens.pad),
        source=replace(frames.source, whole_windows=True),
        encoder=frames.encoder,
        decoder=replace(frames.encoder, layer=replace(layer, cross_attention=True)),
        head=HeadSpec("language", tied=True),
    )


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether the decoder has a table of its own to predict with."""
    return with_own_table(spec, tensors, "proj_out.weight", "model.decoder.embed_tokens.weight")


WHISPER = Family(from_config, config, rules, adapt, redundant=(r"proj_out\.weight",), prefix="model.")
