"""Encoder and decoder: an embedding under a stack. They return tensors and compose; the forms return `Output`."""

from typing import Any, NamedTuple

from keras import ops

from regard.nn.attention import KeysAndValues
from regard.nn.cache import LayerCache, claim_slot, no_owners, owned_mask, reorder_owners
from regard.nn.embedding import TokenEmbedding
from regard.nn.layers import Stack, StackOutput
from regard.nn.masks import all_of, causal_mask, padding_mask, segment_mask
from regard.nn.output import Tensor
from regard.nn.positions import count_positions
from regard.specs import ModelSpec


class Tokens(NamedTuple):
    """One side of a batch: ids, and what places them. All (B, T) int32; None where the batch says nothing."""

    ids: Tensor
    real: Tensor | None = None
    positions: Tensor | None = None
    segments: Tensor | None = None

    @classmethod
    def of(cls, batch: dict[str, Any], side: str = "") -> "Tokens":
        keys = ("input_ids", "attention_mask", "position_ids", "segment_ids")
        given = (batch.get(side + key) for key in keys)
        return cls(*(None if value is None else ops.cast(value, "int32") for value in given))

    def places(self) -> Tensor:
        """The tokens' positions: as the batch gives them, else counted over real tokens."""
        if self.positions is not None:
            return self.positions
        real = ops.ones_like(self.ids) if self.real is None else self.real
        return count_positions(real, self.segments)

    def allowed(self) -> Tensor | None:
        """What attention among these tokens must respect whatever its direction: padding and segments."""
        return all_of(
            None if self.real is None else padding_mask(self.real),
            None if self.segments is None else segment_mask(self.segments, self.segments),
        )


class Encoded(NamedTuple):
    """The memory and what a decoder must know of it."""

    hidden: Tensor  # (B, S, D)
    weights: tuple[Tensor, ...]  # a layer each, (B, N, S, S)
    source: Tokens

    def allowed(self, target: Tokens | None = None) -> Tensor | None:
        """Which target token may attend to which source token."""
        packed = target is not None and target.segments is not None and self.source.segments is not None
        return all_of(
            None if self.source.real is None else padding_mask(self.source.real),
            segment_mask(target.segments, self.source.segments) if target is not None and packed else None,
        )


class Encoder(Stack):
    """Tokens that all attend to one another."""

    def __init__(self, spec: ModelSpec, **kwargs: Any) -> None:
        assert spec.encoder is not None
        super().__init__(spec.encoder, **kwargs)
        self.embedding = TokenEmbedding(spec.embedding, name="embedding", dtype=self.dtype_policy)

    def build(self) -> None:
        self.embedding.build()
        super().build()

    def call(self, source: Tokens, training: bool = False) -> Encoded:
        hidden = self.embedding(source.ids, source.places(), training=training)
        encoded = self.transform(hidden, source.allowed(), training=training)
        return Encoded(encoded.hidden, encoded.self_weights, source)


class DecoderState(NamedTuple):
    """What a decoding step carries on: all of one shape from step to step, so that a loop can hold it."""

    slot: Tensor  # scalar int32: where this step writes
    owners: Tensor  # (B, W, S) int32: see nn.cache
    offsets: Tensor  # (B,) int32: what a row's position is ahead of its slot
    caches: tuple[LayerCache, ...]
    memories: tuple[KeysAndValues, ...]  # of the encoder's output, shared by the beams; () without an encoder
    memory_allowed: Tensor  # (B, 1, 1, S) boolean


class Decoder(Stack):
    """Tokens that attend to those before them, and to a memory where there is one."""

    def __init__(self, spec: ModelSpec, embedding: TokenEmbedding | None = None, **kwargs: Any) -> None:
        assert spec.decoder is not None
        super().__init__(spec.decoder, **kwargs)
        self.spec, self.tokens, self.has_logits_bias = spec.decoder, spec.tokens, spec.logits_bias
        self.embedding = embedding or TokenEmbedding(spec.embedding, name="embedding", dtype=self.dtype_policy)

    def build(self) -> None:
        if not self.embedding.built:
            self.embedding.build()
        super().build()
        self.final_logits_bias = None
        if self.has_logits_bias:
            shape = (1, self.embedding.spec.vocab_size)
            self.final_logits_bias = self.add_weight(
                name="final_logits_bias", shape=shape, initializer="zeros", trainable=False
            )

    def logits(self, hidden: Tensor, training: bool = False) -> Tensor:
        """(B, T, D) -> (B, T, V), see `TokenEmbedding.logits`."""
        logits = self.embedding.logits(hidden, training)
        if self.final_logits_bias is None:
            return logits
        return logits + ops.cast(self.final_logits_bias.value[0], logits.dtype)

    def call(self, target: Tokens, memory: Encoded | None = None, training: bool = False) -> StackOutput:
        hidden = self.embedding(target.ids, target.places(), training=training)
        allowed = all_of(causal_mask(ops.shape(target.ids)[1]), target.allowed())
        if memory is None:
            return self.transform(hidden, allowed, training=training)
        memories = self.memories(memory.hidden)
        return self.transform(hidden, allowed, memories, memory.allowed(target), training=training)

    def begin_from(self, memory: Encoded, beams: int, capacity: int) -> tuple[Tensor, DecoderState]:
        """Ready to write the first target token: the start ids (B, W), and a state with `capacity` free slots."""
        batch = ops.shape(memory.hidden)[0]
        nothing = ops.zeros((batch, self.spec.layer.heads, 0, self.spec.layer.head_width), dtype=self.compute_dtype)
        allowed = memory.allowed()
        state = DecoderState(
            slot=ops.zeros((), dtype="int32"),
            owners=no_owners(batch, beams, capacity),
            offsets=ops.zeros((batch,), dtype="int32"),
            caches=tuple(LayerCache.begin(nothing, nothing, capacity, beams) for _ in self.layers),
            memories=self.memories(memory.hidden),
            memory_allowed=ops.ones((1, 1, 1, 1), dtype="bool") if allowed is None else allowed,
        )
        return ops.full((batch, beams), self.tokens.decoder_start, dtype="int32"), state

    def begin_after(self, prompt: Tokens, beams: int, capacity: int) -> tuple[Tensor, DecoderState]:
        """Ready to go on from a prompt, padded on either side: its last real tokens (B, W), which the first step reads
        again, and a state that holds all before them and `capacity` free slots."""
        batch, length = ops.shape(prompt.ids)
        real = ops.ones_like(prompt.ids) if prompt.real is None else prompt.real
        place = ops.arange(length, dtype="int32")[None]
        last = ops.max(ops.where(real > 0, place, ops.zeros_like(place)), axis=1, keepdims=True)
        positions = prompt.places()
        known = ops.logical_and(real > 0, place != last)
        if prompt.segments is not None:  # the text goes on in the segment that its last token is of
            known = ops.logical_and(known, prompt.segments == ops.take_along_axis(prompt.segments, last, axis=1))
        owners = ops.where(known, ops.zeros_like(real), ops.full_like(real, -1))
        free = ops.full((batch, capacity), -1, dtype="int32")
        owners = ops.concatenate([owners, free], axis=1)
        state = DecoderState(
            slot=ops.cast(length, "int32"),
            owners=ops.repeat(owners[:, None], beams, axis=1),  # (B,S) -> (B,W,S)
            offsets=ops.take_along_axis(positions, last, axis=1)[:, 0] - length,
            caches=self.read_prompt(prompt, beams, capacity),
            memories=(),
            memory_allowed=ops.ones((1, 1, 1, 1), dtype="bool"),
        )
        return ops.repeat(ops.take_along_axis(prompt.ids, last, axis=1), beams, axis=1), state

    def read_prompt(self, prompt: Tokens, beams: int, free: int) -> tuple[LayerCache, ...]:
        hidden = self.embedding(prompt.ids, prompt.places())
        allowed = all_of(causal_mask(ops.shape(prompt.ids)[1]), prompt.allowed())
        caches = []
        for layer in self.layers:
            read = layer.self_attention.keys_and_values(layer.enter(hidden, layer.self_attention_norm))
            caches.append(LayerCache.begin(read.keys, read.values, free, beams))
            hidden = layer(hidden, allowed=allowed).hidden
        return tuple(caches)

    def step(self, ids: Tensor, parents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One token further for every beam: (B, W) ids -> (B, W, D). `parents`: the old beam each beam goes on from."""
        owners = claim_slot(reorder_owners(state.owners, parents), state.slot)
        positions = ops.broadcast_to((state.slot + state.offsets)[:, None], ops.shape(ids))
        hidden = self.embedding(ids, positions)
        output = self.transform(
            hidden, owned_mask(owners), state.memories, state.memory_allowed, state.caches, state.slot
        )
        return output.hidden, state._replace(slot=state.slot + 1, owners=owners, caches=output.caches)
