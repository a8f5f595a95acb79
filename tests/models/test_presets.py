import inspect

import pytest

from regard.errors import ConfigError
from regard.interop.checkpoints import load_model, save_model
from regard.models import vaswani
from regard.models.catalog import PRESETS, spec
from regard.models.forms import build_model
from regard.models.presets import PRESETS as FAMILY_PRESETS
from regard.models.presets import Vocabulary, preset_spec

VOCABULARY = Vocabulary(64, pad=63, eos=0, bos=0)
HEADS = {
    "gpt2": ("language", "sequence_class"),
    "bert": ("masked_language", "sequence_class", "token_class", "span"),
    "t5": ("language",),
}


@pytest.mark.parametrize("name", sorted(FAMILY_PRESETS))
def test_every_preset_is_a_spec_and_the_catalog_knows_it(name):
    found = spec(name, vocab_size=64, pad_id=63, eos_id=0)
    assert found.family == FAMILY_PRESETS[name].family
    assert name in PRESETS


@pytest.mark.parametrize(("family", "head"), [(family, head) for family, heads in HEADS.items() for head in heads])
def test_a_preset_with_each_head_of_its_family_is_saved_and_loaded_as_it_is(family, head, tmp_path):
    labels = 3 if head in ("sequence_class", "token_class") else 0
    depth = {"encoder_depth": 1, "decoder_depth": 2} if family == "t5" else {"depth": 1}
    sizes = {"width": 16, "heads": 2, "ffn_width": 24, "dropout": 0.2, **depth}
    made = preset_spec(f"{family}-tiny", VOCABULARY, head, labels, "multi_label" if labels else None, **sizes)
    stack = made.decoder or made.encoder
    assert (stack.layer.width, stack.layer.heads, stack.layer.ffn_width, stack.layer.dropout) == (16, 2, 24, 0.2)
    assert (made.output.kind, made.output.labels) == (head, labels)
    save_model(build_model(made), tmp_path / "model")
    assert load_model(tmp_path / "model").spec == made


def test_gpt2_and_bert_have_the_sizes_of_their_papers():
    gpt2, bert = (spec(name, vocab_size=64, pad_id=63, eos_id=0) for name in ("gpt2", "bert"))
    for stack in (gpt2.decoder, bert.encoder):
        assert (stack.depth, stack.layer.width, stack.layer.heads, stack.layer.ffn_width) == (12, 768, 12, 3072)
    t5 = spec("t5-small", vocab_size=64, pad_id=63, eos_id=0)
    assert (t5.encoder.layer.head_width, t5.encoder.layer.gated, t5.output.tied) == (64, True, False)


def test_a_key_that_the_family_does_not_have_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"model\.norm_order is no key of bert-tiny: it has width, heads"):
        preset_spec("bert-tiny", VOCABULARY, norm_order="pre")


def test_a_head_that_the_family_does_not_have_is_refused_by_name():
    with pytest.raises(ConfigError, match="'gpt2-tiny' is of the family gpt2, which has no token_class head"):
        preset_spec("gpt2-tiny", VOCABULARY, "token_class", labels=2)


@pytest.mark.parametrize("key", ["depth", "patch_size", "image_size"])
def test_a_key_that_the_original_transformer_does_not_have_is_refused_by_name(key):
    with pytest.raises(ConfigError, match=rf"model\.{key} is no key of tiny: it has width, heads"):
        spec("tiny", vocab_size=64, pad_id=63, eos_id=0, **{key: 2})


def test_the_keys_of_the_original_transformer_are_what_it_takes():
    taken = set(inspect.signature(vaswani.preset).parameters) - {"vocab_size", "tokens"}
    assert set(vaswani.KEYS) == taken


@pytest.mark.parametrize("name", ["tiny", "gpt2-tiny", "bert-tiny", "vit-mini", "vit-gpt2-tiny", "whisper-mini"])
def test_heads_that_do_not_share_the_width_are_refused_in_the_words_of_a_run_file(name):
    with pytest.raises(ConfigError, match=r"^model: (the )?width.* must be a multiple of (the )?heads \(7\)"):
        spec(name, vocab_size=64, pad_id=63, eos_id=0, heads=7)
