"""CLIP as data: sizes, names, and what a config may say."""

import json
from math import prod

import pytest

from regard.errors import CheckpointError, ConfigError
from regard.models.catalog import FAMILIES
from regard.models.family import Config
from regard.specs import HeadSpec, PairSpec

CLIP, TEXT, IMAGE = (FAMILIES[name] for name in ("clip", "clip_text_model", "clip_vision_model"))
TEXTS = {
    "vocab_size": 29,
    "hidden_size": 12,
    "intermediate_size": 19,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 9,
    "eos_token_id": 28,
}
IMAGES = {
    "hidden_size": 15,
    "intermediate_size": 21,
    "num_hidden_layers": 1,
    "num_attention_heads": 5,
    "image_size": 8,
    "patch_size": 4,
}


def pair(texts=(), images=(), **values):
    config = {"model_type": "clip", "projection_dim": 7, "text_config": {**TEXTS, **dict(texts)}}
    return CLIP.from_config(Config({**config, "vision_config": {**IMAGES, **dict(images)}, **values}))


def stored(family, spec):
    return {name: shape for rule in family.rules(spec) for name, shape in rule.stored_shapes().items()}


def read_back(family, spec):
    return family.from_config(Config(json.loads(json.dumps(family.config(spec)))))


def test_a_config_of_defaults_has_the_published_size():
    """ViT-B/32; the scale of the cosines is one of them, and a scalar in the file."""
    shapes = stored(CLIP, CLIP.from_config(Config({"model_type": "clip"})))
    assert shapes["logit_scale"] == ()
    assert sum(map(prod, shapes.values())) == 151_277_313


@pytest.mark.parametrize(
    "spec",
    [
        pair(),
        pair({"eos_token_id": 2, "hidden_act": "gelu"}, {"layer_norm_eps": 0.5, "num_channels": 1}),
        pair({"eos_token_id": 49407}, {"image_size": 9, "attention_dropout": 0.25}, projection_dim=3),
    ],
)
def test_a_pairs_config_written_and_read_gives_the_same_spec(spec):
    assert read_back(CLIP, spec) == spec


@pytest.mark.parametrize("ending", ["", "WithProjection"])
def test_a_side_alone_writes_its_own_config_and_its_own_names(ending):
    texts = TEXT.from_config(
        Config({"model_type": "clip_text_model", "architectures": ["CLIPTextModel" + ending], **TEXTS})
    )
    images = IMAGE.from_config(
        Config({"model_type": "clip_vision_model", "architectures": ["CLIPVisionModel" + ending], **IMAGES})
    )
    assert read_back(TEXT, texts) == texts
    assert read_back(IMAGE, images) == images
    prefixes = ("text_model.", "vision_model.") if ending else ("", "")
    assert f"{prefixes[0]}final_layer_norm.weight" in stored(TEXT, texts)
    assert f"{prefixes[1]}pre_layrnorm.weight" in stored(IMAGE, images)
    assert ("text_projection.weight" in stored(TEXT, texts)) == bool(ending)


def test_a_text_is_read_at_its_end_or_by_an_old_rule_at_its_highest_id():
    assert pair().output == HeadSpec("pooled", width=7, pool="token", token=28)
    assert pair({"eos_token_id": 2}).output == HeadSpec("pooled", width=7, pool="highest")


def test_ids_beyond_the_vocabulary_are_kept_as_the_config_has_them():
    """No number hangs on pad and bos, and a text without eos is read at its first token."""
    values = {**TEXTS, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}
    config = Config({"model_type": "clip", "text_config": values, "vision_config": {**IMAGES, "initializer_factor": 2}})
    assert CLIP.from_config(config).output.token == 49407
    assert config.unread() == {
        "text_config": {"bos_token_id": 49406, "pad_token_id": 1},
        "vision_config": {"initializer_factor": 2},
    }


def test_the_configs_that_very_old_files_add_take_precedence():
    spec = pair(text_config_dict={**TEXTS, "hidden_size": 18}, vision_config_dict=None)
    assert spec.text.width == 18
    assert spec == pair({"hidden_size": 18})


def test_what_cannot_be_built_is_refused_by_name():
    with pytest.raises(CheckpointError, match="CLIPForImageClassification is not supported; CLIPModel"):
        pair(architectures=["CLIPForImageClassification"])
    with pytest.raises(CheckpointError, match=r"the width \(12\) must be a multiple of the heads \(5\)"):
        pair({"num_attention_heads": 5})
    with pytest.raises(CheckpointError, match="text_config must be an object, but is 3"):
        pair(text_config=3)


def test_a_pair_needs_two_sides_that_meet():
    spec = pair()
    with pytest.raises(ConfigError, match="needs images"):
        PairSpec("clip", spec.embedding, encoder=spec.encoder, head=spec.head)
    with pytest.raises(ConfigError, match="both heads must be of one width, but they are 7 and 3"):
        PairSpec("clip", spec.embedding, encoder=spec.encoder, head=spec.head, images=pair(projection_dim=3).images)
    with pytest.raises(ConfigError, match="the text side needs a pooled head"):
        PairSpec("clip", spec.embedding, encoder=spec.encoder, images=spec.images)
    with pytest.raises(ConfigError, match="one side must read tokens, and the other patches"):
        PairSpec("clip", spec.embedding, encoder=spec.encoder, head=spec.head, images=spec)
