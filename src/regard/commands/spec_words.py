"""A network in words: a spec as lines of text."""

from collections.abc import Iterator, Sequence

from regard.specs import (
    AudioSpec,
    EmbeddingSpec,
    HeadSpec,
    LayerSpec,
    ModelSpec,
    PairSpec,
    PatchSpec,
    PositionSpec,
    StackSpec,
)

_MOST_LABELS = 12
_PROBLEMS = {"regression": " (numbers)", "single_label": " (one)", "multi_label": " (any of them)", None: ""}


def described(model: ModelSpec, labels: Sequence[str] = ()) -> list[str]:
    """What it is, what it reads, its layers and its head. labels: the names of the head's classes."""
    if isinstance(model, PairSpec):
        texts, images = list(_side(model)), list(_side(model.image_side))
        return [
            f"{model.family}: two encoders side by side, of texts and of images",
            *(f"texts: {line}" for line in texts),
            *(f"images: {line}" for line in images),
        ]
    return [f"{model.family}: {model.form}", *_side(model, labels)]


def _side(model: ModelSpec, labels: Sequence[str] = ()) -> Iterator[str]:
    if isinstance(model.source, PatchSpec):
        yield f"reads {_patches(model.source)}"
    elif isinstance(model.source, AudioSpec):
        yield f"reads {_audio(model.source)}"
    if model.embedding is not None:
        verb = "reads" if model.source is None else "writes"
        stacks = [stack for stack in (model.encoder, model.decoder) if stack is not None]
        yield f"{verb} {_embedding(model.embedding, any(stack.layer.rotary is not None for stack in stacks))}"
    for side, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        if stack is not None:
            yield f"{side}: {_stack(stack)}"
    yield f"head: {_head(model.output, labels)}"


def _embedding(embedding: EmbeddingSpec, rotary: bool) -> str:
    scaled = ", scaled by the square root of the width" if embedding.scale else ""
    places = embedding.positions
    reach = f"to {places.max_positions:,} of them" if rotary else _positions(places)
    return f"tokens: vocabulary {embedding.vocab_size:,}, width {embedding.width}{scaled}, {reach}"


def _positions(positions: PositionSpec) -> str:
    if positions.kind == "none":
        return "no table of positions"
    return f"{positions.kind} positions to {positions.max_positions:,}"


def _patches(patches: PatchSpec) -> str:
    return (
        f"images: {patches.image_height} x {patches.image_width} with {patches.channels} channels, "
        f"in {patches.count} patches of {patches.patch_height} x {patches.patch_width}, "
        f"extra tokens {patches.extra_tokens}, width {patches.width}"
    )


def _audio(audio: AudioSpec) -> str:
    return f"sounds: {audio.mels} mels a frame, width {audio.width}, {_positions(audio.positions)}"


def _stack(stack: StackSpec) -> str:
    layer = stack.layer
    grouped = f" ({layer.kv_heads} for keys and values)" if layer.kv_heads != layer.heads else ""
    gated = ", gated" if layer.gated else ""
    rms = " (rms)" if layer.norm == "rms" else ""
    positions = ""
    if layer.rotary is not None:
        stretched = "" if layer.rotary.scaling == "none" else f", {layer.rotary.scaling} x {layer.rotary.factor:g}"
        positions += f"rotary positions (theta {layer.rotary.theta:,.0f}{stretched}), "
    if stack.relative is not None:
        positions += f"relative positions in {stack.relative.buckets} buckets, "
    if layer.window is not None:
        positions += f"a window of {layer.window:,}, "
    return (
        f"{stack.depth} layers, {layer.heads} heads of {layer.head_width}{grouped}, feed-forward {layer.ffn_width} "
        f"({layer.activation}{gated}), {layer.norm_order}-norm{rms}, {positions}dropout {_dropouts(layer)}"
    )


def _dropouts(layer: LayerSpec) -> str:
    within = {"of attention": layer.attention_dropout, "of the feed-forward": layer.activation_dropout}
    told = [f"{rate:g} {what}" for what, rate in within.items() if rate]
    return f"{layer.dropout:g}" + (f" ({', '.join(told)})" if told else "")


def _head(head: HeadSpec, labels: Sequence[str]) -> str:
    if head.kind in ("language", "masked_language"):
        table = "the embedding's table" if head.tied else "a table of its own"
        return f"predicts {'masked ' if head.kind == 'masked_language' else ''}tokens, by {table}"
    if head.kind == "span":
        return "where an answer begins and ends"
    if head.kind == "pooled":
        return "one vector" + ("" if head.width is None else f" of {head.width}")
    if head.kind == "hidden":
        return "none" if head.dense is None else "a pooler"
    if head.kind == "ctc":
        return f"which of {head.labels:,} tokens each frame says, or none"
    what = "each token" if head.kind == "token_class" else "the whole"
    named = f": {_listed(labels)}" if labels else ""
    return f"{head.labels} labels of {what}{_PROBLEMS[head.problem]}{named}"


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
    return ", ".join(labels[:_MOST_LABELS]) + more
