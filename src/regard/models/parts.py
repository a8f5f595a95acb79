"""Encoder and decoder: a stem under a stack. They return tensors and compose; the forms return `Output`."""

import regard.nn  # noqa: F401  # first of all: it checks Keras's backend before Keras is imported

# isort: split
from typing import Any, NamedTuple

from keras import ops

from regard.nn.attention import KeysAndValues, Reach
from regard.nn.cache import LayerCache, claim_slot, column_places, no_owners, owned_mask, reorder_owners
from regard.nn.embedding import TokenEmbedding
from regard.nn.layers import Stack, StackOutput, TransformerLayer
from regard.nn.linear import Linear
from regard.nn.masks import all_of, causal_mask, padding_mask, segment_mask
from regard.nn.output import Tensor
from regard.nn.positions import count_positions
from regard.nn.stems import AudioStem, PatchStem, TokenStem
from regard.specs import EmbeddingSpec, ModelSpec, PatchSpec, PositionSpec


class Tokens(NamedTuple):
    """One side of a batch: ids, and what places them. All (B, T) int32; None where the batch says nothing."""

    ids: Tensor
    real: Tensor | None = None
    positions: Tensor | None = None
    segments: Tensor | None = None
    types: Tensor | None = None

    @classmethod
    def of(cls, batch: dict[str, Any], side: str = "") -> "Tokens":
        keys = ("input_ids", "attention_mask", "position_ids", "segment_ids", "token_type_ids")
        given = (batch.get(side + key) for key in keys)
        return cls(*(None if value is None else ops.cast(value, "int32") for value in given))

    def places(self) -> Tensor:
        """The tokens' positions: as the batch gives them, else counted over real tokens."""
        if self.positions is not None:
            return self.positions
        real = ops.ones_like(self.ids) if self.real is None else self.real
        return count_positions(real, self.segments)

    def placed(self, spec: EmbeddingSpec) -> "Tokens":
        """With the positions of those who count past the padding's id, masked or not: it stands before the first. In
        other tables what pads a text on its right goes on counting, so that what is computed there is Transformers',
        too: it shares in the softmax over a text's places."""
        if self.positions is not None or spec.positions.kind == "none":
            return self
        if not spec.positions.skips_padding:
            return self if self.real is None else self._replace(positions=self._counted_on(spec.positions))
        text = self.ids != spec.pad_id
        if self.real is not None:
            text = ops.logical_and(text, self.real > 0)
        places = count_positions(text, self.segments)
        return self._replace(positions=ops.where(text, places, ops.full_like(places, -1)))

    def _counted_on(self, spec: PositionSpec) -> Tensor:
        place = ops.arange(ops.shape(self.ids)[1], dtype="int32")[None]
        places = self.places() + ops.maximum(place - self.last()[:, None], 0)
        return ops.minimum(places, spec.max_positions - 1)

    def allowed(self) -> Tensor | None:
        """What attention among these tokens must respect whatever its direction: padding and segments."""
        return all_of(
            None if self.real is None else padding_mask(self.real),
            None if self.segments is None else segment_mask(self.segments, self.segments),
        )

    def first(self) -> Tensor | None:
        """Where each row's first real token stands: (B,) int32; None where nothing is padding."""
        return None if self.real is None else ops.argmax(ops.cast(self.real > 0, "int32"), axis=1)

    def found(self, token: int | None) -> Tensor:
        """Where each row has its first `token`, or for None its highest id; without one, its first real token: (B,)."""
        real = ops.ones_like(self.ids) if self.real is None else ops.cast(self.real > 0, "int32")
        rank = self.ids + 1 if token is None else 1 + ops.cast(self.ids == token, "int32")
        return ops.argmax(rank * real, axis=1)

    def last(self) -> Tensor:
        """Where each row's last real token stands: (B,) int32."""
        real = ops.ones_like(self.ids) if self.real is None else self.real
        place = ops.arange(ops.shape(self.ids)[1], dtype="int32")[None]
        return ops.max(ops.where(real > 0, place, ops.zeros_like(place)), axis=1)


class Encoded(NamedTuple):
    """The memory and what a decoder must know of it."""

    hidden: Tensor  # (B, S, D)
    weights: tuple[Tensor, ...]  # a layer each, (B, N, S, S)
    source: Tokens | None = None  # None: patches or frames, all of them real

    def allowed(self, target: Tokens | None = None) -> Tensor | None:
        """Which target token may attend to which source token."""
        source = self.source
        if source is None:
            return None
        packed = target is not None and target.segments is not None and source.segments is not None
        return all_of(
            None if source.real is None else padding_mask(source.real),
            segment_mask(target.segments, source.segments) if target is not None and packed else None,
        )


class Encoder(Stack):
    """Tokens, patches or frames that all attend to one another; a causal one's to what is before them."""

    def __init__(self, spec: ModelSpec, **kwargs: Any) -> None:
        assert spec.encoder is not None
        super().__init__(spec.encoder, causal=spec.encoder.causal, **kwargs)
        own = {"name": "stem", "dtype": self.dtype_policy}
        self.embedding = None
        if spec.source is None:
            self.embedding = TokenEmbedding(spec.source_text, name="embedding", dtype=self.dtype_policy)
            self.stem = TokenStem(spec.text, **own)
        else:
            self.stem = (
                PatchStem(spec.source, **own) if isinstance(spec.source, PatchSpec) else AudioStem(spec.source, **own)
            )

    def build(self) -> None:
        if self.embedding is not None:
            self.embedding.build()
        self.stem.build()
        super().build()

    def call(self, source: Tokens | Tensor, training: bool = False) -> Encoded:
        """Tokens, pixels (B, height, width, C) or log-mel frames (B, A, M) -> the memory."""
        if not isinstance(source, Tokens):
            return self.encode(self.stem(source, training=training), None, training)
        source = source.placed(self.stem.spec)
        hidden = self.stem(
            source.ids, embedding=self.embedding, places=source.places(), types=source.types, training=training
        )
        return self.encode(hidden, source, training)

    def encode(self, hidden: Tensor, source: Tokens | None, training: bool) -> Encoded:
        length = ops.shape(hidden)[1]
        places = ops.arange(length, dtype="int32")[None] if source is None else source.places()
        causal = causal_mask(length) if self.spec.causal else None
        allowed = all_of(causal, None if source is None else source.allowed())
        encoded = self.transform(hidden, self.reaches(allowed, places, places), training=training)
        return Encoded(encoded.hidden, encoded.self_weights, source)


class DecoderState(NamedTuple):
    """What a decoding step carries on: all of one shape from step to step, so that a loop can hold it."""

    slot: Tensor  # scalar int32: where this step writes
    owners: Tensor  # (B, W, S) int32: see nn.cache
    places: Tensor  # (B, S) int32: the position of what each slot holds, or will hold
    caches: tuple[LayerCache, ...]
    memories: tuple[KeysAndValues, ...]  # of the encoder's output, shared by the beams; () without an encoder
    memory_allowed: Tensor  # (B, 1, 1, S) boolean, or (1, 1, 1, 1) where all of it is allowed

    def with_room(self, free: int) -> "DecoderState":
        """For so many steps more: the only time, but for `at_rows`, that a cache is copied."""
        places = self.places[:, -1:] + ops.arange(1, free + 1, dtype="int32")
        return self._replace(
            owners=ops.pad(self.owners, ((0, 0), (0, 0), (0, free)), constant_values=-1),
            places=ops.concatenate([self.places, places], axis=1),
            caches=tuple(cache.with_room(free) for cache in self.caches),
        )

    def at_rows(self, rows: Tensor) -> "DecoderState":
        """The rows (B',) of a batch alone."""
        batch = ops.shape(self.owners)[0]
        allowed = self.memory_allowed
        return self._replace(
            owners=ops.take(self.owners, rows, axis=0),
            places=ops.take(self.places, rows, axis=0),
            caches=tuple(cache.at_rows(rows, batch) for cache in self.caches),
            memories=tuple(KeysAndValues(*(ops.take(part, rows, axis=0) for part in both)) for both in self.memories),
            memory_allowed=allowed if allowed.shape[0] == 1 else ops.take(allowed, rows, axis=0),
        )


class Decoder(Stack):
    """Tokens that attend to those before them, and to a memory where there is one."""

    def __init__(self, spec: ModelSpec, embedding: TokenEmbedding | None = None, **kwargs: Any) -> None:
        assert spec.decoder is not None
        super().__init__(spec.decoder, causal=True, **kwargs)
        own = {"dtype": self.dtype_policy}
        self.tokens = spec.tokens
        self.embedding = embedding or TokenEmbedding(spec.text, name="embedding", **own)
        self.stem = TokenStem(spec.text, name="stem", **own)
        width, memory_width = spec.decoder.layer.width, spec.encoder.layer.width if spec.encoder else None
        self.memory_projection = None
        if memory_width is not None and memory_width != width:
            self.memory_projection = Linear(memory_width, width, name="memory_projection", **own)

    def build(self) -> None:
        if not self.embedding.built:
            self.embedding.build()
        self.stem.build()
        if self.memory_projection is not None:
            self.memory_projection.build()
        super().build()

    def embed(self, ids: Tensor, places: Tensor, training: bool = False) -> Tensor:
        return self.stem(ids, embedding=self.embedding, places=places, training=training)

    def remember(self, memory: Encoded | None) -> tuple[KeysAndValues, ...]:
        """Each layer's keys and values of the memory."""
        if memory is None:
            return ()
        hidden = memory.hidden
        return self.memories(hidden if self.memory_projection is None else self.memory_projection(hidden))

    def call(self, target: Tokens, memory: Encoded | None = None, training: bool = False) -> StackOutput:
        places = target.placed(self.stem.spec).places()
        allowed = all_of(causal_mask(ops.shape(target.ids)[1]), target.allowed())
        return self.transform(
            self.embed(target.ids, places, training),
            self.reaches(allowed, places, places),
            self.remember(memory),
            None if memory is None else memory.allowed(target),
            training=training,
        )

    def begin_from(self, memory: Encoded, beams: int, capacity: int) -> tuple[Tensor, DecoderState]:
        """Ready to write the first target token: the start ids (B, W), and a state with `capacity` free slots."""
        batch = ops.shape(memory.hidden)[0]
        start_ids = ops.full((batch, beams), self.tokens.decoder_start, dtype="int32")
        return start_ids, self.begin_blank(batch, beams, capacity, memory)

    def begin_blank(self, batch: Tensor, beams: int, capacity: int, memory: Encoded | None = None) -> DecoderState:
        """Nothing read yet, and `capacity` free slots."""
        layer = self.spec.layer
        nothing = ops.zeros((batch, layer.keys_heads, 0, layer.head_width), dtype=self.compute_dtype)
        return DecoderState(
            slot=ops.zeros((), dtype="int32"),
            owners=no_owners(batch, beams, capacity),
            places=ops.broadcast_to(ops.arange(capacity, dtype="int32")[None], (batch, capacity)),
            caches=tuple(LayerCache.begin(nothing, nothing, capacity, beams) for _ in self.layers),
            memories=self.remember(memory),
            memory_allowed=_memory_allowed(memory),
        )

    def begin_after(
        self, prompt: Tokens, beams: int, capacity: int, memory: Encoded | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Ready to go on from a prompt, padded on either side: its last real tokens (B, W), which the first step reads
        again, and a state that holds all before them and `capacity` free slots."""
        length = ops.shape(prompt.ids)[1]
        real = ops.ones_like(prompt.ids) if prompt.real is None else prompt.real
        last = prompt.last()[:, None]
        places = prompt.places()
        known = ops.logical_and(real > 0, ops.arange(length, dtype="int32")[None] != last)
        if prompt.segments is not None:  # the text goes on in the segment that its last token is of
            known = ops.logical_and(known, prompt.segments == ops.take_along_axis(prompt.segments, last, axis=1))
        owners = ops.where(known, ops.zeros_like(real), ops.full_like(real, -1))
        owners = ops.pad(owners, ((0, 0), (0, capacity)), constant_values=-1)
        to_come = ops.take_along_axis(places, last, axis=1) + ops.arange(capacity, dtype="int32")[None]
        memories = self.remember(memory)
        state = DecoderState(
            slot=ops.cast(length, "int32"),
            owners=ops.repeat(owners[:, None], beams, axis=1),  # (B,S) -> (B,W,S)
            places=ops.concatenate([places, to_come], axis=1),
            caches=self.read_prompt(prompt, beams, capacity, memories, memory),
            memories=memories,
            memory_allowed=_memory_allowed(memory),
        )
        return ops.repeat(ops.take_along_axis(prompt.ids, last, axis=1), beams, axis=1), state

    def read_prompt(
        self, prompt: Tokens, beams: int, free: int, memories: tuple[KeysAndValues, ...], memory: Encoded | None
    ) -> tuple[LayerCache, ...]:
        places = prompt.places()
        hidden = self.embed(prompt.ids, places)
        allowed = all_of(causal_mask(ops.shape(prompt.ids)[1]), prompt.allowed())
        memory_allowed = None if memory is None else memory.allowed(prompt)

        def read(
            layer: TransformerLayer, hidden: Tensor, reach: Reach, memory: KeysAndValues | None
        ) -> tuple[KeysAndValues, Tensor]:
            entered = layer.enter(hidden, layer.self_attention_norm)
            own = layer.self_attention.keys_and_values(entered, reach.rotation)
            return own, layer(hidden, reach=reach, memory=memory, memory_allowed=memory_allowed).hidden

        of_layer, caches = self.layerwise(read), []
        for i, reach in enumerate(self.reaches(allowed, places, places)):
            own, hidden = of_layer(i, hidden, reach, memories[i] if memories else None)
            caches.append(LayerCache.begin(own.keys, own.values, free, beams))
        return tuple(caches)

    def step(self, ids: Tensor, parents: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One token further for every beam: (B, W) ids -> (B, W, D). `parents`: the old beam each beam goes on from."""
        owners = claim_slot(reorder_owners(state.owners, parents), state.slot)
        place = ops.take(state.places, state.slot, axis=1)[:, None]  # (B, 1): beams stand side by side
        key_places = column_places(state.places, ids.shape[1])
        output = self.transform(
            self.embed(ids, ops.broadcast_to(place, ops.shape(ids))),
            self.reaches(owned_mask(owners), place, key_places),
            state.memories,
            state.memory_allowed,
            state.caches,
            state.slot,
        )
        return output.hidden, state._replace(slot=state.slot + 1, owners=owners, caches=output.caches)

    def read(self, ids: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Tokens further for one beam: (B, T) ids, into the slots from `state.slot` on -> (B, T, D). `owners` and
        `places` tell of these slots, too. The state's own buffers are written to, and `slot` stays."""
        length, slots = ops.shape(ids)[1], ops.shape(state.places)[1]
        own = state.slot + ops.arange(length, dtype="int32")
        not_later = ops.arange(slots, dtype="int32")[None, :] <= own[:, None]
        place = ops.take(state.places, own, axis=1)
        output = self.transform(
            self.embed(ids, place),
            self.reaches(
                all_of(padding_mask(state.owners[:, 0] >= 0), not_later[None, None]), place, state.places, place
            ),
            state.memories,
            state.memory_allowed,
            state.caches,
            own,
        )
        return output.hidden, state._replace(caches=output.caches)


def _memory_allowed(memory: Encoded | None) -> Tensor:
    allowed = None if memory is None else memory.allowed()
    return ops.ones((1, 1, 1, 1), dtype="bool") if allowed is None else allowed
