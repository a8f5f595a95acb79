"""BART's line: BART, mBART, M2M-100, Marian, Pegasus."""

import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import regard
from regard.errors import CheckpointError, ConfigError, InputError
from regard.models.bart import KINDS
from regard.models.bart_layout import BART
from regard.models.family import Config
from regard.models.forms import build_model, last_label, shift_right
from regard.specs.tables import sinusoids

SIZES = {
    "vocab_size": 23,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 19,
    "decoder_ffn_dim": 17,
    "max_position_embeddings": 16,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
BATCH = {"input_ids": np.array([[3, 4, 5, 2]]), "decoder_input_ids": np.array([[2, 6, 7]])}


class Stored(dict):
    """Tensors of a checkpoint."""

    def shape(self, name):
        return self[name].shape


def spec_of(family="bart", **changes):
    values = {**SIZES, "architectures": [f"{KINDS[family].name}{KINDS[family].language}"], **changes}
    return BART.from_config(Config({"model_type": family, **values}))


def size(spec):
    return sum(math.prod(rule.shape) for rule in BART.rules(spec))


def test_bart_base_has_its_published_size():
    """139,420,416 parameters. The other number that is published, 139,417,344, is smaller by 3,072: it leaves out, on
    each of two sides, the two rows of 768 that stand before the table of positions."""
    base = spec_of(
        vocab_size=50265,
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
        max_position_embeddings=1024,
    )
    assert size(base) == 139_420_416
    assert size(base) - 2 * base.text.positions.offset * base.text.width == 139_417_344


@pytest.mark.parametrize(("side", "kind"), [("", "hidden"), ("model.", "language")])
def test_each_side_has_its_own_positions_and_embedding_norm_but_one_table_of_tokens(side, kind):
    bart = spec_of(architectures=["BartModel" if kind == "hidden" else "BartForConditionalGeneration"])
    names = {rule.path: rule.names[0] for rule in BART.rules(bart) if rule.path.endswith(("table", "norm/scale"))}
    assert bart.output.kind == kind
    assert names["encoder/embedding/table"] == f"{side}shared.weight"
    assert names["encoder/stem/positions/table"] == f"{side}encoder.embed_positions.weight"
    assert names["decoder/stem/positions/table"] == f"{side}decoder.embed_positions.weight"
    assert names["encoder/stem/norm/scale"] == f"{side}encoder.layernorm_embedding.weight"
    assert names["decoder/stem/norm/scale"] == f"{side}decoder.layernorm_embedding.weight"


@pytest.mark.parametrize(
    ("family", "order", "norm", "kind", "offset", "rates"),
    [
        ("bart", "post", True, "learned", 2, "paper"),
        ("mbart", "pre", True, "learned", 2, "paper"),
        ("m2m_100", "pre", False, "sinusoidal", 2, "tensor2tensor"),
        ("marian", "post", False, "sinusoidal", 0, "paper"),
        ("pegasus", "pre", False, "sinusoidal", 0, "paper"),
    ],
)
def test_the_line_differs_in_norms_and_positions(family, order, norm, kind, offset, rates):
    spec = spec_of(family)
    places = spec.text.positions
    assert (spec.encoder.layer.norm_order, spec.decoder.final_norm, spec.text.norm) == (order, order == "pre", norm)
    assert (places.kind, places.offset, places.rates, places.max_positions) == (kind, offset, rates, 16)


def test_the_first_position_of_m2m_100_stands_after_the_paddings():
    assert spec_of("m2m_100", pad_token_id=3).text.positions.offset == 4
    assert spec_of("bart", pad_token_id=3).text.positions.offset == 2


def test_absent_keys_have_the_defaults_of_their_family():
    absent = ("pad_token_id", "eos_token_id", "decoder_start_token_id", "max_position_embeddings")
    sizes = {key: value for key, value in SIZES.items() if key not in absent} | {"vocab_size": 60000}
    found = {family: BART.from_config(Config({"model_type": family, **sizes})) for family in KINDS}
    assert {family: vars(spec.tokens) for family, spec in found.items()} == {
        "bart": {"pad": 1, "eos": 2, "bos": 0, "decoder_start": 2},
        "mbart": {"pad": 1, "eos": 2, "bos": 0, "decoder_start": 0},  # Transformers' generate begins with bos then
        "m2m_100": {"pad": 1, "eos": 2, "bos": 0, "decoder_start": 2},
        "marian": {"pad": 58100, "eos": 0, "bos": None, "decoder_start": 58100},
        "pegasus": {"pad": 0, "eos": 1, "bos": None, "decoder_start": 0},
    }
    layers = {family: spec.encoder.layer for family, spec in found.items()}
    assert {family for family, spec in found.items() if spec.text.scale} == {"m2m_100"}
    assert {family for family, layer in layers.items() if layer.activation == "relu"} == {"m2m_100"}
    assert {family for family, layer in layers.items() if layer.attention_dropout == 0.1} == {"m2m_100"}
    assert {spec.text.positions.max_positions for spec in found.values()} == {1024}


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_embedding": True, "activation_function": "swish", "dropout": 0.25},
        {"scale_embedding": False, "attention_dropout": 0.2, "activation_dropout": 0.3, "bos_token_id": 7},
        {"eos_token_id": [2, 5], "decoder_start_token_id": 9, "pad_token_id": 4},
        {"tie_word_embeddings": False},
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_config_written_and_read_gives_the_same_spec(family, changes, bare):
    if bare:
        changes = {**changes, "architectures": [f"{KINDS[family].name}Model"]}
    spec = spec_of(family, **changes)
    values = json.loads(json.dumps(BART.config(spec)))
    assert BART.from_config(Config(values)) == spec
    assert values["architectures"] == [KINDS[family].name + ("Model" if bare else KINDS[family].language)]


def test_what_older_configs_say_besides_is_kept_and_changes_nothing():
    config = Config({"model_type": "bart", **SIZES, "normalize_before": True, "add_bias_logits": False})
    assert BART.from_config(config).encoder.layer.norm_order == "post"
    assert config.unread() == {"normalize_before": True, "add_bias_logits": False}


@pytest.mark.parametrize(
    ("family", "changes", "complaint"),
    [
        (
            "bart",
            {"architectures": ["BartForSequenceClassification"]},
            "BartForSequenceClassification is not supported",
        ),
        ("mbart", {"architectures": ["MBartForQuestionAnswering"]}, "of this family are MBartModel"),
        ("pegasus", {"architectures": ["PegasusForCausalLM"]}, "PegasusForCausalLM is not supported"),
        ("bart", {"decoder_attention_heads": 5}, r"multiple of decoder_attention_heads \(5\)"),
        ("bart", {"activation_function": "sigmoidal"}, "unknown activation_function 'sigmoidal'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(family, changes, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        spec_of(family, **changes)


def test_a_vocabulary_of_the_decoder_that_is_shared_anyway_does_not_matter():
    assert spec_of("marian", decoder_vocab_size=24) == spec_of("marian")


def test_each_side_of_a_marian_of_two_vocabularies_reads_and_predicts_its_own():
    spec = spec_of("marian", share_encoder_decoder_embeddings=False, decoder_vocab_size=29)
    shapes = {name: shape for rule in BART.rules(spec) for name, shape in rule.stored_shapes().items()}
    assert shapes["model.encoder.embed_tokens.weight"] == (23, 12)
    assert shapes["model.decoder.embed_tokens.weight"] == (29, 12)
    model = model_of(spec)
    assert model({**BATCH, "decoder_input_ids": np.array([[2, 28]])}).logits.shape == (1, 2, 29)
    with pytest.raises(InputError, match=r"input_ids must be ids below vocab_size \(23\), but hold 28"):
        model({**BATCH, "input_ids": np.array([[28]])})
    with pytest.raises(ConfigError, match=r"tokens.pad must be below source_vocab_size \(23\), but is 28"):
        spec_of("marian", share_encoder_decoder_embeddings=False, decoder_vocab_size=29, pad_token_id=28)


def test_a_marian_without_ties_is_written_as_one_of_two_tables():
    config = Config({"model_type": "marian", **SIZES, "decoder_vocab_size": 23, "tie_word_embeddings": False})
    config["share_encoder_decoder_embeddings"] = True  # and yet they are not shared where nothing is tied
    written = BART.config(BART.from_config(config))
    assert config.unread() == {}  # else it would be written as it was read
    assert written["share_encoder_decoder_embeddings"] is False


def test_an_output_table_is_ones_own_where_it_differs_whatever_the_config_says():
    table = np.arange(23.0 * 12).reshape(23, 12)
    shared = {"model.shared.weight": table}
    assert BART.adapt(spec_of(), Stored(shared)).output.tied
    assert BART.adapt(spec_of(), Stored(shared | {"lm_head.weight": table.copy()})).output.tied
    untied = BART.adapt(spec_of(), Stored(shared | {"lm_head.weight": table + 1}))
    assert not untied.output.tied
    assert untied.shared_embedding
    assert "lm_head.weight" in {name for rule in BART.rules(untied) for name in rule.names}
    told = spec_of(tie_word_embeddings=False)
    assert BART.adapt(told, Stored(shared)) == replace(told, shared_embedding=True)  # then lm_head.weight is missing


@pytest.mark.parametrize(("shift", "shares"), [(0, True), (1, False)])
def test_the_sides_have_tables_of_their_own_where_these_differ(shift, shares):
    table = np.arange(23.0 * 12).reshape(23, 12)
    own = {f"model.{side}.embed_tokens.weight": table + i * shift for i, side in enumerate(("encoder", "decoder"))}
    spec = BART.adapt(spec_of(), Stored({"model.shared.weight": table, **own}))
    assert spec.shared_embedding is shares
    names = {name for rule in BART.rules(spec) for name in rule.names}
    assert ("model.decoder.embed_tokens.weight" in names) is not shares
    assert ("model.shared.weight" in BART.constants(spec)) is not shares


@pytest.mark.parametrize(
    ("family", "bias", "kept"),
    [
        ("bart", np.zeros((1, 23)), False),
        ("bart", np.eye(1, 23), True),
        ("bart", np.zeros((1, 24)), True),  # of another shape: for the accounts to complain of
        ("bart", None, False),
        ("m2m_100", np.eye(1, 23), False),
    ],
)
def test_a_bias_on_the_logits_is_kept_where_it_says_something(family, bias, kept):
    stored = {} if bias is None else {"final_logits_bias": bias}
    spec = BART.adapt(spec_of(family), Stored({"model.shared.weight": np.zeros((23, 12)), **stored}))
    assert spec.logits_bias is kept
    assert ("final_logits_bias" in BART.constants(spec)) is (family == "bart" and not kept)


def test_sinusoids_of_a_file_are_read_past_unless_they_are_others():
    spec = spec_of("pegasus")
    places = {f"model.{side}.embed_positions.weight": sinusoids(16, 12, "halves") for side in ("encoder", "decoder")}

    def adapted(change, family_spec=spec):
        moved = {name: change(table) for name, table in places.items()}
        return BART.adapt(family_spec, Stored({"model.shared.weight": np.zeros((23, 12)), **moved}))

    assert adapted(lambda table: table.astype("float32")) == spec
    stored = adapted(lambda table: table[:, ::-1])
    assert stored.text.positions.kind == "stored"
    assert {f"{side}/stem/positions/table" for side in ("encoder", "decoder")} < {
        rule.path for rule in BART.rules(stored)
    }
    assert adapted(lambda table: table.astype("float16")).text.positions.kind == "stored"  # rounded, and read so
    assert adapted(lambda table: table[:4]).text.positions.kind == "stored"  # for the accounts to complain of
    m2m = spec_of("m2m_100")
    assert adapted(lambda table: table[:, ::-1], m2m) == m2m


def test_who_writes_the_sinusoids_is_as_transformers_has_it():
    written = {
        (family, bare): [name for name in BART.constants(spec) if "embed_positions" in name]
        for family in KINDS
        for bare in (False, True)
        for spec in [spec_of(family, **({"architectures": [f"{KINDS[family].name}Model"]} if bare else {}))]
    }
    both = ["encoder.embed_positions.weight", "decoder.embed_positions.weight"]
    assert written.pop(("marian", True)) == both
    assert written.pop(("pegasus", True)) == both
    assert written.pop(("pegasus", False)) == [f"model.{name}" for name in both]
    assert not any(written.values())


def test_the_last_label_is_the_last_real_one():
    labels = np.array([[5, 6, 2, 20], [7, 20, -100, -100], [7, 21, 1, -100]])
    assert np.array(last_label(labels, pad=1)).tolist() == [[20], [20], [21]]
    assert np.array(shift_right(labels, last_label(labels, 1), pad=1)).tolist()[1] == [20, 7, 20, 1]
    assert np.array(shift_right(labels, 9, pad=1)).tolist()[0] == [9, 5, 6, 2]


def model_of(spec):
    keras.utils.set_random_seed(3)
    return build_model(spec)


def test_only_mbart_starts_from_its_last_label():
    labels = np.array([[5, 6, 20, -100]])
    started = {}
    for family in ("bart", "mbart"):
        read = model_of(spec_of(family)).target({"labels": keras.ops.convert_to_tensor(labels)})
        started[family] = np.array(read.ids).tolist()
    assert started == {"bart": [[2, 5, 6, 20]], "mbart": [[20, 5, 6, 20]]}


def variants():
    bart = spec_of()
    untied = replace(bart.output, tied=False)
    pegasus = spec_of("pegasus")
    places = replace(pegasus.text.positions, kind="stored")
    yield "bart", replace(bart, logits_bias=True)
    yield "a head of its own", replace(bart, head=untied)
    yield "three tables", replace(bart, head=untied, shared_embedding=False)
    yield "bare", spec_of(architectures=["BartModel"])
    yield "marian in two tables", replace(spec_of("marian"), shared_embedding=False)
    two = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 29}
    yield "marian of two vocabularies", spec_of("marian", **two, tie_word_embeddings=True)
    yield "mbart", spec_of("mbart")
    yield "m2m_100", spec_of("m2m_100", pad_token_id=3)
    yield "stored positions", replace(pegasus, embedding=replace(pegasus.text, positions=places))


@pytest.mark.parametrize(("name", "spec"), list(variants()))
def test_saved_and_loaded_it_is_the_same_to_the_bit(name, spec, tmp_path):
    model = model_of(spec)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if not variable.path.startswith("seed"):
            variable.assign(rng.normal(size=variable.shape))
    assert {variable.path for variable in model.variables if "seed" not in variable.path} == {
        rule.path for rule in BART.rules(spec)
    }
    regard.save_model(model, tmp_path / "one")
    again = regard.load_model(tmp_path / "one")
    assert again.spec == spec
    regard.save_model(again, tmp_path / "two")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    np.testing.assert_array_equal(model(BATCH).last_hidden_state, again(BATCH).last_hidden_state)
    trained = {variable.path for variable in model.trainable_variables}
    assert ("encoder/stem/positions/table" in trained) is (spec.text.positions.kind == "learned")


def test_a_table_of_its_own_is_what_the_decoder_reads_and_predicts_with(tmp_path):
    one, own = spec_of("marian"), replace(spec_of("marian"), shared_embedding=False)
    regard.save_model(model_of(one), tmp_path / "one")
    tensors = load_file(tmp_path / "one" / "model.safetensors")
    table = tensors.pop("model.shared.weight")
    separate = {f"model.{side}.embed_tokens.weight": table for side in ("encoder", "decoder")}
    regard.save_model(model_of(own), tmp_path / "two")
    save_file(tensors | separate, tmp_path / "two" / "model.safetensors")
    shared, apart = (regard.load_model(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_array_equal(shared(BATCH).logits, apart(BATCH).logits)
    moved = {**separate, "model.decoder.embed_tokens.weight": table + 0.5}
    save_file(tensors | moved, tmp_path / "two" / "model.safetensors")
    other = regard.load_model(tmp_path / "two")
    np.testing.assert_array_equal(shared(BATCH).encoder_last_hidden_state, other(BATCH).encoder_last_hidden_state)
    assert np.abs(np.array(shared(BATCH).logits) - np.array(other(BATCH).logits)).max() > 0.1


def test_what_is_left_out_by_a_bare_file_begins_a_head_anew_from_the_same_names(tmp_path):
    bare = model_of(spec_of(architectures=["BartModel"]))
    regard.save_model(bare, tmp_path / "bare")
    assert "shared.weight" in load_file(tmp_path / "bare" / "model.safetensors")
    generating = regard.load_model(tmp_path / "bare", head=spec_of().output)
    assert generating(BATCH).logits.shape == (1, 3, 23)
    np.testing.assert_array_equal(bare(BATCH).last_hidden_state, generating(BATCH).last_hidden_state)


def test_an_encoder_alone_has_no_layout():
    with pytest.raises(ConfigError, match="bart is an encoder-decoder, but this model is an encoder"):
        BART.config(replace(spec_of(), decoder=None, head=None))
