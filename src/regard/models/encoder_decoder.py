"""A BERT that reads and a BERT that writes, with cross-attention between (Rothe et al. 2020): encoders that were
pretrained, put to summarising, translating and answering. RoBERTa likewise."""

from dataclasses import replace
from typing import Any

from regard.errors import CheckpointError, ConfigError
from regard.models import bert
from regard.models.family import LEGACY_NORMS, TOKEN_KEYS, Config, Family, two_sides, with_own_table, writer_tokens
from regard.models.weights import Rule, StoredTensors, linear
from regard.specs import HeadSpec, ModelSpec, TokenIds

_SIDES = ("bert", "roberta", "xlm-roberta")
_POOLER = HeadSpec("hidden", dense="tanh")


def from_config(config: Config) -> ModelSpec:
    source, target = two_sides(config, _SIDES, _SIDES)
    kind, tied, tokens = target["model_type"], target.get("tie_word_embeddings", True), _tokens(config, source, target)
    reader, writer = _side(source, tokens), _side(target, tokens)
    own = replace(reader.text, vocab_size=writer.text.vocab_size)
    differ = [name for name, value in vars(writer.text).items() if getattr(own, name) != value]
    if differ:
        raise CheckpointError(f"config.json: {', '.join(differ)} must be the same in encoder and decoder, but differ")
    return _joined(reader, writer, tokens, kind, tied)


def _tokens(config: Config, source: Config, target: Config) -> TokenIds:
    """As `writer_tokens`; RoBERTa counts places past the padding, so there all must agree on what that is."""
    tokens = writer_tokens(config, target)
    usual = bert.PADS.get(target["model_type"], 1)
    tokens = replace(tokens, pad=usual if tokens.pad is None else tokens.pad)
    for name, side in (("encoder", source), ("decoder", target)):
        own = side.get("pad_token_id", usual)
        if side["model_type"] != "bert" and own != tokens.pad:
            raise CheckpointError(f"config.json: pad_token_id must be the {name}'s ({own}), but is {tokens.pad}")
    return tokens


def _side(side: Config, tokens: TokenIds) -> ModelSpec:
    """As an encoder without a head, of which a decoder has the very layers."""
    alone = Config({**side, "architectures": ["BertModel"], "pad_token_id": tokens.pad})
    spec = bert.from_config(alone)
    side.read |= alone.read
    # Kept as they are: what is written nowhere, and the family's name, for XLM-RoBERTa's is that of another tokenizer.
    side.read -= {*TOKEN_KEYS, "classifier_dropout", "model_type", "architectures"}
    return spec


def _joined(reader: ModelSpec, writer: ModelSpec, tokens: TokenIds, kind: str, tied: bool = True) -> ModelSpec:
    """kind: the writer's model_type."""
    assert reader.encoder is not None
    assert writer.encoder is not None
    layer = replace(writer.encoder.layer, cross_attention=True)
    alike = reader.text.vocab_size == writer.text.vocab_size
    # The head is a masked language model's, which here says what comes next.
    dense = layer.activation if kind == "bert" else "gelu"
    return ModelSpec(
        family="encoder-decoder",
        embedding=writer.text,
        tokens=tokens,
        encoder=reader.encoder,
        decoder=replace(writer.encoder, layer=layer),
        head=HeadSpec("language", dense=dense, bias=True, tied=tied, norm_epsilon=layer.norm_epsilon),
        shared_embedding=False,
        source_vocab_size=None if alike else reader.text.vocab_size,
        encoder_pooler=_POOLER,
    )


def _kind(spec: ModelSpec) -> str:
    return "roberta" if spec.text.positions.offset else "bert"


def config(spec: ModelSpec) -> dict[str, Any]:
    assert spec.encoder is not None
    assert spec.decoder is not None
    kind, tokens = _kind(spec), spec.tokens
    name = bert.ARCHITECTURES[kind]
    return {
        "architectures": ["EncoderDecoderModel"],
        "model_type": "encoder-decoder",
        "is_encoder_decoder": True,
        "pad_token_id": tokens.pad,
        "eos_token_id": tokens.eos,
        "decoder_start_token_id": tokens.decoder_start,
        "tie_word_embeddings": False,  # of the encoder and the decoder, which share nothing
        "encoder": {
            "architectures": [f"{name}Model"],
            "model_type": kind,
            **bert.stack_config(spec.source_text, spec.encoder),
            "pad_token_id": tokens.pad,
        },
        "decoder": {
            "architectures": [f"{name}LMHeadModel" if kind == "bert" else f"{name}ForCausalLM"],
            "model_type": kind,
            "is_decoder": True,
            "add_cross_attention": True,
            **bert.stack_config(spec.text, spec.decoder),
            "pad_token_id": tokens.pad,
            "tie_word_embeddings": spec.output.tied,
        },
    }


def rules(spec: ModelSpec) -> list[Rule]:
    assert spec.encoder is not None
    assert spec.decoder is not None
    kind, width = _kind(spec), spec.text.width
    head = bert.bert_token_head if kind == "bert" else bert.roberta_token_head
    found = bert.stack_rules("encoder", "encoder.", spec.source_text, spec.encoder)
    if spec.encoder_pooler is not None:
        found += linear("encoder_pooler/dense", ("encoder.pooler.dense",), width, width)
    return found + bert.stack_rules("decoder", f"decoder.{kind}.", spec.text, spec.decoder) + head(spec, "decoder.")


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether the encoder brought its pooler along, and whether the decoder's two tables are one."""
    if "encoder.pooler.dense.weight" not in tensors:
        spec = replace(spec, encoder_pooler=None)
    kind = _kind(spec)
    own = "decoder.cls.predictions.decoder.weight" if kind == "bert" else "decoder.lm_head.decoder.weight"
    return with_own_table(spec, tensors, own, f"decoder.{kind}.embeddings.word_embeddings.weight")


ENCODER_DECODER = Family(
    from_config,
    config,
    rules,
    adapt,
    redundant=(
        r"(encoder|decoder\.(bert|roberta))\.embeddings\.position_ids",
        r"decoder\.(cls\.predictions|lm_head)\.(decoder\.weight|bias)",
        r"decoder\.(bert|roberta)\.pooler\.dense\.(weight|bias)",  # of the first releases
    ),
    renames=(
        *LEGACY_NORMS,
        (r"^(decoder\.(cls\.predictions|lm_head))\.decoder\.bias$", r"\1.bias"),
    ),
)


def both_sides(encoder: ModelSpec, tokens: TokenIds) -> ModelSpec:
    """An encoder-decoder whose sides are both this encoder. Raises ConfigError for a family that cannot be both."""
    if encoder.family not in _SIDES or encoder.encoder is None:
        raise ConfigError(f"an encoder-decoder is made of {' or '.join(_SIDES)}, but not of {encoder.family}")
    joined = _joined(encoder, encoder, replace(tokens, pad=encoder.tokens.pad), encoder.family)
    return replace(joined, encoder_pooler=None)


def both_sides_rules(encoder: ModelSpec) -> list[Rule]:
    """How the variables of `both_sides` are made of the encoder's tensors: but for the cross-attention, which begins
    anew, as does what stands before the table, where the encoder was no masked language model."""
    theirs = bert.rules(encoder)
    of_stack = [rule for rule in theirs if rule.path.startswith("encoder/")]
    of_decoder = [replace(rule, path=rule.path.replace("encoder/", "decoder/", 1)) for rule in of_stack]
    predicts = encoder.output.kind == "masked_language" and encoder.output.tied
    return of_stack + of_decoder + [rule for rule in theirs if predicts and rule.path.startswith("head/")]
