"""Specs check themselves: what cannot be built is refused by name, value and bound."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regard.errors import ConfigError
from regard.specs import (
    AudioSpec,
    EmbeddingSpec,
    HeadSpec,
    LayerSpec,
    ModelSpec,
    PatchSpec,
    PositionSpec,
    RelativeSpec,
    RotarySpec,
    StackSpec,
    TokenIds,
)

POSITIONS = PositionSpec()
EMBEDDING = EmbeddingSpec(vocab_size=11, width=8, positions=POSITIONS, pad_id=10)
LAYER = LayerSpec(width=8, heads=2, head_width=4, ffn_width=16)
STACK = StackSpec(LAYER, depth=2)
PATCHES = PatchSpec(width=8, image_height=12, image_width=8, patch_height=4, patch_width=2)
AUDIO = AudioSpec(width=8, mels=5, positions=POSITIONS)
ROTARY = RotarySpec()
RELATIVE = RelativeSpec()
HEAD = HeadSpec("token_class", labels=3)
READER = StackSpec(replace(LAYER, cross_attention=True), depth=2)
TOKENS = TokenIds(pad=10, eos=0, decoder_start=10)
MODEL = ModelSpec("vaswani", EMBEDDING, TOKENS, encoder=STACK, decoder=READER)

SIZES = [
    (POSITIONS, "max_positions"),
    (EMBEDDING, "vocab_size"),
    (EMBEDDING, "width"),
    (LAYER, "width"),
    (LAYER, "heads"),
    (LAYER, "head_width"),
    (LAYER, "ffn_width"),
    (LAYER, "kv_heads"),
    (STACK, "depth"),
    (PATCHES, "width"),
    (PATCHES, "image_height"),
    (PATCHES, "image_width"),
    (PATCHES, "patch_height"),
    (PATCHES, "patch_width"),
    (PATCHES, "channels"),
    (AUDIO, "width"),
    (AUDIO, "mels"),
    (ROTARY, "original_positions"),
    (RELATIVE, "buckets"),
    (RELATIVE, "max_distance"),
]
COUNTS_FROM_ZERO = [
    (POSITIONS, "offset"),
    (EMBEDDING, "token_types"),
    (PATCHES, "extra_tokens"),
    (HEAD, "labels"),
]
RATES = [
    (EMBEDDING, "dropout"),
    (PATCHES, "dropout"),
    (AUDIO, "dropout"),
    (HEAD, "dropout"),
    (LAYER, "dropout"),
    (LAYER, "attention_dropout"),
    (LAYER, "activation_dropout"),
]


def named(pairs) -> dict:
    return {"argvalues": pairs, "ids": [f"{type(spec).__name__}.{field}" for spec, field in pairs]}


def test_the_cases_cover_every_count_and_every_rate():
    """A field added to a spec without its check must not pass unseen."""
    specs = (POSITIONS, EMBEDDING, LAYER, STACK, PATCHES, AUDIO, ROTARY, RELATIVE, HEAD)
    counts = {(spec, field.name) for spec in specs for field in fields(spec) if type(getattr(spec, field.name)) is int}
    rates = {(spec, field.name) for spec in specs for field in fields(spec) if field.name.endswith("dropout")}
    assert counts - {(EMBEDDING, "pad_id"), *COUNTS_FROM_ZERO} == set(SIZES)
    assert rates == set(RATES)


@pytest.mark.parametrize(("spec", "field"), **named(SIZES))
@given(size=st.integers(max_value=0))
@example(size=0)
def test_a_size_below_one_is_refused_by_name_and_value(spec, field, size):
    with pytest.raises(ConfigError, match=f"{field} must be a whole number of at least 1, but is {size}$"):
        replace(spec, **{field: size})


@pytest.mark.parametrize(("spec", "field"), **named(SIZES))
@pytest.mark.parametrize("size", [8.0, True, "8"])
def test_a_size_that_is_no_whole_number_is_refused_by_name(spec, field, size):
    """JSON's 8.0 and true compare equal to sizes, and would pass every other check."""
    with pytest.raises(ConfigError, match=f"{field} must be a whole number"):
        replace(spec, **{field: size})


@pytest.mark.parametrize(
    ("spec", "field", "most"),
    [
        (POSITIONS, "max_positions", 32768),
        (STACK, "depth", 1024),
        (RELATIVE, "max_distance", 32768),
        (ROTARY, "original_positions", 2**31 - 1),
    ],
)
def test_sizes_that_no_tensor_bounds_have_a_bound_of_their_own(spec, field, most):
    assert getattr(replace(spec, **{field: most}), field) == most
    with pytest.raises(ConfigError, match=f"{field} must be at most {most}, but is {most + 1}"):
        replace(spec, **{field: most + 1})


@pytest.mark.parametrize(("spec", "field"), **named(RATES))
@given(rate=st.floats().filter(lambda rate: not 0 <= rate < 1))
@example(rate=1.0)
def test_a_rate_outside_zero_to_one_is_refused_by_name(spec, field, rate):
    with pytest.raises(ConfigError, match=rf"{field} must be in \[0, 1\), but is "):
        replace(spec, **{field: rate})


@pytest.mark.parametrize(("spec", "field"), **named(RATES))
@given(rate=st.floats(0, 1, exclude_max=True))
def test_a_rate_from_zero_to_below_one_is_taken(spec, field, rate):
    assert getattr(replace(spec, **{field: rate}), field) == rate


@given(st.integers().filter(lambda pad: not 0 <= pad < 11))
@example(11)
def test_the_padding_must_be_an_id_of_the_table(pad):
    with pytest.raises(ConfigError, match=rf"pad_id must be an id below vocab_size \(11\), but is {pad}$"):
        replace(EMBEDDING, pad_id=pad)


@given(st.integers(0, 500).map(lambda half: 2 * half + 1))
def test_tokens_take_any_width_and_the_sinusoids_of_frames_an_even_one(width):
    assert replace(EMBEDDING, width=width).width == width
    with pytest.raises(ConfigError, match=f"even width, but width is {width}"):
        AudioSpec(width, mels=3, positions=PositionSpec())


@pytest.mark.parametrize("epsilon", [0.0, -1e-5])
def test_an_epsilon_that_cannot_keep_a_norm_finite_is_refused(epsilon):
    with pytest.raises(ConfigError, match="norm_epsilon must be above 0"):
        replace(LAYER, norm_epsilon=epsilon)


def test_a_model_without_any_stack_is_refused():
    with pytest.raises(ConfigError, match="an encoder, a decoder or both"):
        ModelSpec("vaswani", EMBEDDING, TOKENS)


@pytest.mark.parametrize(("name", "stack"), [("encoder", STACK), ("decoder", READER)])
def test_a_stack_of_another_width_than_the_embedding_is_refused(name, stack):
    wide = replace(stack, layer=replace(stack.layer, width=16))
    with pytest.raises(ConfigError, match=rf"the {name}'s width must equal the embedding's \(8\), but is 16"):
        replace(MODEL, **{name: wide})


@pytest.mark.parametrize("change", [{"encoder": None}, {"decoder": STACK}])
def test_cross_attention_stands_exactly_where_there_is_an_encoder(change):
    with pytest.raises(ConfigError, match="cross_attention exactly where there is an encoder"):
        replace(MODEL, **change)


@pytest.mark.parametrize("token", [-1, 11, 2.0, "</s>", True])
@pytest.mark.parametrize("name", ["eos", "bos", "decoder_start"])
def test_tokens_are_ids_of_the_vocabulary(name, token):
    with pytest.raises(ConfigError, match=rf"tokens\.{name} must be an id below vocab_size \(11\)"):
        replace(MODEL, tokens=replace(MODEL.tokens, **{name: token}))


def test_the_padding_token_is_the_embeddings():
    with pytest.raises(ConfigError, match=r"tokens\.pad must be embedding\.pad_id \(10\), but is 3"):
        replace(MODEL, tokens=replace(MODEL.tokens, pad=3))


def test_an_encoder_decoder_needs_a_token_to_start_with():
    with pytest.raises(ConfigError, match=r"needs tokens\.decoder_start"):
        replace(MODEL, tokens=TokenIds(pad=10, eos=0))


def test_the_form_is_told_by_the_stacks_that_are_there():
    assert MODEL.form == "encoder-decoder"
    assert replace(MODEL, decoder=None, head=None).form == "encoder"
    with pytest.raises(ConfigError, match="a language head needs a decoder"):
        replace(MODEL, decoder=None)
    assert replace(MODEL, encoder=None, decoder=StackSpec(LAYER, depth=1)).form == "decoder"


def test_specs_are_values():
    assert replace(MODEL) == MODEL
    assert hash(replace(MODEL)) == hash(MODEL)
    with pytest.raises(FrozenInstanceError):
        MODEL.family = "bert"
