"""The dropouts of a run file in the config.json of every family."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from regard.config.sections import DROPOUTS
from regard.errors import ConfigError
from regard.models.catalog import FAMILIES, family
from regard.models.dropouts import DROPOUT_NAMES, with_dropouts
from regard.models.family import Config
from regard.specs import StackSpec

CASES = Path(__file__).parent.parent / "parity" / "cases"
CONFIGS = {path.name: json.loads((path / "config.json").read_text("utf-8")) for path in sorted(CASES.glob("*/"))}
TRAINED = {name: config for name, config in CONFIGS.items() if not config["model_type"].startswith("clip")}
TRAINED["mt5"] = {**CONFIGS["t5-seq2seq"], "model_type": "mt5"}
RATES = {"dropout": 0.31, "attention_dropout": 0.32, "activation_dropout": 0.33}
ALL, BUT_THE_FEED_FORWARD_S = set(DROPOUTS), {"dropout", "attention_dropout"}
TAKES = {
    **dict.fromkeys(("bart", "m2m_100", "marian", "mbart", "pegasus", "whisper"), ALL),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "vit", "deit", "distilbert", "gpt2"), BUT_THE_FEED_FORWARD_S),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), frozenset({"attention_dropout"})),
    **dict.fromkeys(("t5", "mt5"), frozenset({"dropout"})),
    "encoder-decoder": BUT_THE_FEED_FORWARD_S,
    "vision-encoder-decoder": BUT_THE_FEED_FORWARD_S,
}
OF_ITS_OWN = ("classifier_dropout", "seq_classif_dropout", "qa_dropout")  # what a config.json says of a head's


def spec_of(config):
    return family(config["model_type"]).from_config(Config(dict(config)))


def test_every_family_that_is_trained_is_known_and_has_a_case():
    assert set(TAKES) == {name for name in FAMILIES if not name.startswith("clip")}
    assert set(TAKES) == {config["model_type"] for config in TRAINED.values()}
    assert set(DROPOUT_NAMES) == {name for name in TAKES if not name.endswith("encoder-decoder")}


@pytest.mark.parametrize("name", TRAINED)
def test_a_rate_reaches_every_layer_and_nothing_else_changes(name):
    """T5 has one rate for all three places."""
    config = TRAINED[name]
    takes = TAKES[config["model_type"]]
    rates = {key: rate for key, rate in RATES.items() if key in takes}
    before, after = spec_of(config), spec_of(with_dropouts(config, rates))
    want = dict.fromkeys(DROPOUTS, 0.31) if "t5" in config["model_type"] else rates
    undone = {}
    for part in ("encoder", "decoder"):
        old, new = getattr(before, part), getattr(after, part)
        if isinstance(old, StackSpec):
            assert {key: getattr(new.layer, key) for key in want} == want
            was = {key: getattr(old.layer, key) for key in want}
            undone[part] = replace(new, layer=replace(new.layer, **was))
    for part in ("embedding", "source", "head"):
        old, new = getattr(before, part), getattr(after, part)
        if getattr(old, "dropout", 0) != getattr(new, "dropout", 0):
            assert new.dropout == rates["dropout"]
            undone[part] = replace(new, dropout=old.dropout)
    if "dropout" in rates:
        assert [each.dropout for each in (after.embedding, after.source) if each is not None] != []
        assert all(each.dropout == 0.31 for each in (after.embedding, after.source) if each is not None)
    assert replace(after, **undone) == before
    assert spec_of(with_dropouts(config, {})) == before
    written = spec_of(family(after.family).config(after))  # as it is saved
    assert (written.encoder, written.decoder, written.embedding) == (after.encoder, after.decoder, after.embedding)


@pytest.mark.parametrize("name", ["bert-sequence-class", "bert-token-class", "roberta-sequence-class"])
def test_a_head_without_a_rate_of_its_own_follows_and_one_with_it_does_not(name):
    config = {key: value for key, value in CONFIGS[name].items() if key not in OF_ITS_OWN}
    assert spec_of(with_dropouts(config, {"dropout": 0.31})).output.dropout == 0.31
    own = {**config, "classifier_dropout": 0.25}
    assert spec_of(with_dropouts(own, {"dropout": 0.31})).output.dropout == 0.25


@pytest.mark.parametrize(
    ("name", "key"), [("sequence-class", "seq_classif_dropout"), ("question-answering", "qa_dropout")]
)
def test_distilberts_heads_keep_theirs(name, key):
    config = {**CONFIGS[f"distilbert-{name}"], key: 0.25}
    assert spec_of(with_dropouts(config, {"dropout": 0.31})).output.dropout == 0.25


@pytest.mark.parametrize("name", TRAINED)
def test_a_rate_that_a_family_does_not_have_is_named(name):
    config = TRAINED[name]
    for key in ALL - TAKES[config["model_type"]]:
        said = rf"^model\.{key} is no key beside a [\w-]+ checkpoint, which has model\.\w+( and model\.\w+)*: leave"
        with pytest.raises(ConfigError, match=said):
            with_dropouts(config, {key: 0.1})


def test_what_regard_cannot_train_is_left_to_say_so_itself():
    config = {"model_type": "electra", "hidden_dropout_prob": 0.1}
    assert with_dropouts(config, {"dropout": 0.3}) == config
    assert with_dropouts({}, {"dropout": 0.3}) == {}


def test_the_given_config_stays_as_it_is():
    config = {"model_type": "encoder-decoder", "encoder": {"model_type": "bert"}, "decoder": {"model_type": "bert"}}
    known = json.dumps(config)
    changed = with_dropouts(config, {"dropout": 0.2})
    assert [changed[side]["hidden_dropout_prob"] for side in ("encoder", "decoder")] == [0.2, 0.2]
    assert json.dumps(config) == known
