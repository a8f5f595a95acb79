"""An image encoder and a text decoder that reads it (captioning; Li et al. 2021): ViT or DeiT, then GPT-2."""

from dataclasses import replace
from typing import Any

from regard.models import gpt2, vit
from regard.models.family import TOKEN_KEYS, Config, Family, two_sides, writer_tokens
from regard.models.weights import Rule, StoredTensors, linear, same
from regard.specs import ModelSpec, PatchSpec, TokenIds


def from_config(config: Config) -> ModelSpec:
    image, text = two_sides(config, ("vit", "deit"), ("gpt2",))
    reader, tokens = vit.from_config(image), writer_tokens(config, text)
    writer = _decoder(text, tokens)
    assert writer.decoder is not None
    return ModelSpec(
        family="vision-encoder-decoder",
        embedding=writer.embedding,
        tokens=tokens,
        source=reader.source,
        encoder=reader.encoder,
        decoder=replace(writer.decoder, layer=replace(writer.decoder.layer, cross_attention=True)),
        head=writer.head,
        encoder_pooler=vit.pooler(image),
    )


def _decoder(text: Config, tokens: TokenIds) -> ModelSpec:
    """The decoder as a language model that reads no image."""
    own = {"architectures": ["GPT2LMHeadModel"], "add_cross_attention": False}
    alone = Config({**text, **own, **dict.fromkeys(TOKEN_KEYS), "pad_token_id": tokens.pad})
    spec = gpt2.from_config(alone)
    text.read |= alone.read - set(TOKEN_KEYS)
    return spec


def config(spec: ModelSpec) -> dict[str, Any]:
    assert isinstance(spec.source, PatchSpec)
    pooler = spec.encoder_pooler
    return {
        "architectures": ["VisionEncoderDecoderModel"],
        "model_type": "vision-encoder-decoder",
        "is_encoder_decoder": True,
        "pad_token_id": spec.tokens.pad,
        "eos_token_id": spec.tokens.eos,
        "decoder_start_token_id": spec.tokens.decoder_start,
        "tie_word_embeddings": False,  # of the encoder and the decoder, which have nothing to tie
        "encoder": {
            "model_type": "vit" if spec.source.extra_tokens == 1 else "deit",
            **vit.encoder_config(spec),
            **({} if pooler is None else vit.pooler_config(spec, pooler)),
        },
        "decoder": {**gpt2.config(spec), "is_decoder": True},
    }


def rules(spec: ModelSpec) -> list[Rule]:
    assert spec.encoder is not None
    memory_width, width, head = spec.encoder.layer.width, spec.text.width, spec.output
    found = vit.encoder_rules(spec, "encoder.")
    if spec.encoder_pooler is not None:
        found += vit.pooler_rules("encoder_pooler", "encoder.pooler", spec.encoder_pooler, memory_width)
    if memory_width != width:
        found += linear("decoder/memory_projection", ("enc_to_dec_proj",), memory_width, width)
    found += gpt2.decoder_rules(spec, "decoder.transformer.")
    if not head.tied:
        found += linear("head/output", ("decoder.lm_head",), width, spec.text.vocab_size, bias=False)
    return found


def adapt(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """Whether the encoder brought its pooler along, and whether the decoder's two tables are one."""
    if "encoder.pooler.dense.weight" not in tensors:
        spec = replace(spec, encoder_pooler=None)
    if not spec.output.tied or "decoder.lm_head.weight" not in tensors:
        return spec
    tied = same(tensors, "decoder.lm_head.weight", "decoder.transformer.wte.weight")
    return replace(spec, head=replace(spec.output, tied=tied))


VISION_ENCODER_DECODER = Family(
    from_config,
    config,
    rules,
    adapt,
    redundant=tuple(rf"decoder\.{pattern}" for pattern in gpt2.GPT2.redundant),
    renames=vit.RENAMES,
)
