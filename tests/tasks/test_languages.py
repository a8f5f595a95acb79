"""What saying a language does to a source; the ids are those that Transformers 5.23 gave for the same directories."""

import functools
import json
import sys
import tempfile
from pathlib import Path

import pytest

from regard.config import TokenizerConfig
from regard.errors import InputError
from regard.features.tokenizer import Tokenizer
from regard.specs import TokenIds
from regard.tasks.languages import ONE_DIRECTION, Direction, Languages, language, languages_of

sys.path.append(str(Path(__file__).parents[1] / "features" / "tokenizers"))

import tiny_tokenizers as vocabularies

TEXT = "The brown fox jumps over the lazy dog"
_KEPT = tempfile.TemporaryDirectory()  # goes with the process
EOS_START = TokenIds(pad=1, eos=2, bos=0, decoder_start=2)
PROMPTS = {
    "translation_en_to_de": ("translate English to German: ", {"num_beams": 4}),
    "translation_en_to_fr": ("translate English to French: ", {}),
    "translation_nl_to_fr": ("translate Dutch to French: ", {}),
    "summarization": ("summarize: ", {}),
}


@functools.cache
def tokenizer(family: str) -> Tokenizer:
    return Tokenizer.load(vocabularies.write(family, Path(_KEPT.name) / family))


def effect(family, source, target, **more):
    """The ids of TEXT without its pieces, and the direction."""
    known = languages_of(tokenizer(family), EOS_START, **more)
    direction = known.direction(source, target)
    ids = [*direction.before, *tokenizer(family).encode(TEXT, source_lang=direction.beside)]
    plain = tokenizer(family).encode_plain(TEXT)
    at = next(place for place in range(len(ids)) if ids[place : place + len(plain)] == plain)
    return ids[:at], ids[at + len(plain) :], direction


@pytest.mark.parametrize(
    ("family", "source", "target", "before", "after", "first"),
    [
        ("mbart", None, "ro_RO", [], [2, 215], 232),  # its config says de_DE
        ("mbart", "en_XX", "de_DE", [], [2, 216], 215),
        ("mbart50", None, "ro_RO", [216], [2], 232),  # en_XX, the family's
        ("mbart50", "de_DE", "sl_SI", [215], [2], 264),
        ("nllb", None, "eng_Latn", [384], [2], 374),  # its config says fra_Latn
        ("nllb", "eng_Latn", "zho_Hans", [374], [2], 527),
        ("m2m_100", None, "zh", [341], [2], 421),
        ("m2m_100", "de", "fr", [339], [2], 347),
        ("marian", None, "fr", [3], [0], None),
    ],
)
def test_a_language_is_ids_around_the_source_and_a_first_token(family, source, target, before, after, first):
    found = effect(family, source, target)
    assert found[:2] == (before, after)
    assert (found[2].first, found[2].start, found[2].target_lang) == (first, None, target)


def test_nllbs_first_release_says_the_language_after_the_text(tmp_path):
    config = vocabularies.write("nllb", tmp_path) / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "legacy_behaviour": True}))
    loaded = Tokenizer.load(tmp_path)
    direction = languages_of(loaded, EOS_START).direction("en", "zho_Hans")
    assert loaded.encode(TEXT, source_lang=direction.beside) == [*loaded.encode_plain(TEXT), 2, 374]
    assert direction.first == 527


def test_short_forms_of_other_families_codes_mean_the_models_own():
    for family, wanted, own in [
        ("mbart", "de", "de_DE"),
        ("mbart", "EN", "en_XX"),
        ("mbart", "zho", "zh_CN"),
        ("nllb", "de", "deu_Latn"),
        ("nllb", "fa", "pes_Arab"),
        ("nllb", "zh-Hant", "zho_Hant"),
        ("nllb", "deu_latn", "deu_Latn"),
        ("m2m_100", "deu", "de"),
        ("marian", "fra", "fr"),
    ]:
        assert effect(family, None, wanted)[2].target_lang == own


@pytest.mark.parametrize(
    ("family", "target", "complaint"),
    [
        ("nllb", "zh", "target_lang 'zh' may be zho_Hans or zho_Hant: say which"),
        ("nllb", "deu_Cyrl", r"and 190 more \(regard inspect lists them\), but is 'deu_Cyrl': the nearest is deu_Latn"),
        ("m2m_100", "de_DE", "but is 'de_DE': the nearest is de"),
        ("m2m_100", "German", "but is 'German': the nearest is de$"),
        ("nllb", "deu-Latin", "but is 'deu-Latin': the nearest is deu_Latn$"),
        ("m2m_100", "elvish", "but is 'elvish'$"),
        ("marian", "it", "target_lang must be one of de, fr, but is 'it'$"),
        ("mbart50", None, r"give target_lang, one of ar_AR, .* and 40 more"),
    ],
)
def test_an_unknown_or_missing_language_is_refused_with_the_way_out(family, target, complaint):
    with pytest.raises(InputError, match=complaint):
        effect(family, None, target)


def test_an_unknown_source_is_refused_and_so_is_one_that_cannot_be_said():
    with pytest.raises(InputError, match=r"source_lang must be one of .* but is 'xx'"):
        effect("mbart", "xx", "de")
    with pytest.raises(InputError, match="is not told what it translates from and takes no source_lang, but got 'en'"):
        effect("marian", "en", "de")
    with pytest.raises(InputError, match="translates into one language and takes no target_lang, but got 'de'"):
        ONE_DIRECTION.direction(None, "de")


def test_a_decoder_that_starts_with_a_language_starts_with_the_target_and_writes_no_code():
    ro, de = (tokenizer("mbart").language_id(code) for code in ("ro_RO", "de_DE"))
    known = languages_of(tokenizer("mbart"), TokenIds(pad=1, eos=2, bos=0, decoder_start=ro))
    assert known.default == "ro_RO"
    assert known.direction(None, None)[4:7] == (None, None, None)  # as the checkpoint is
    assert known.direction(None, "de_DE")[4:7] == (None, de, None)
    forced = languages_of(tokenizer("mbart"), TokenIds(pad=1, eos=2, bos=0, decoder_start=ro), forced=ro)
    assert forced.direction(None, "de")[4:7] == (None, de, de)


def test_the_checkpoints_forced_language_is_the_default_and_gives_way():
    ro = tokenizer("mbart50").language_id("ro_RO")
    known = languages_of(tokenizer("mbart50"), EOS_START, forced=ro, target="de_DE")
    assert known.direction(None, None).first == ro
    assert known.direction(None, "fr").first == tokenizer("mbart50").language_id("fr_XX")
    said = languages_of(tokenizer("mbart50"), EOS_START, target="de_DE")
    assert said.direction(None, None).target_lang == "de_DE"
    assert languages_of(tokenizer("mbart50"), EOS_START, target="German").default is None


def test_instructions_are_chosen_by_the_languages_in_their_names():
    known = languages_of(tokenizer("t5"), TokenIds(pad=0, eos=1, decoder_start=0), prompts=PROMPTS)
    assert (known.targets, known.sources) == (("de", "fr"), ("en", "nl"))
    found = known.direction(None, "deu")
    assert found == Direction("en", "de", prefix=PROMPTS["translation_en_to_de"][0], options={"num_beams": 4})
    assert known.direction("nl", "fr").prefix == "translate Dutch to French: "
    with pytest.raises(InputError, match="from several languages into fr: give source_lang, en, nl"):
        known.direction(None, "fr")
    with pytest.raises(InputError, match="does not translate from nl into de"):
        known.direction("nl", "de")


def test_a_model_without_any_of_these_goes_one_way_and_one_instruction_needs_no_language():
    assert languages_of(tokenizer("t5"), EOS_START) == ONE_DIRECTION
    one = {"translation_en_to_de": ("translate English to German: ", {})}
    only = languages_of(tokenizer("t5"), EOS_START, prompts=one)
    assert only.direction(None, None).prefix == "translate English to German: "


def test_our_own_tags_stand_before_the_source():
    own = Tokenizer.train(["one two three"] * 3, TokenizerConfig(vocab_size=300), [">>de<<", ">>zh<<"])
    known = languages_of(own, EOS_START)
    assert known == Languages(tuple(Direction(target_lang=c, before=(own.tag_id(f">>{c}<<"),)) for c in ("de", "zh")))


def test_a_language_has_one_short_form_whatever_the_family():
    codes = ["de", "de_DE", "deu_Latn", "deu", "zho_Hans", "cmn_Hans", "jpn_Jpan", "ace_Arab", "", "??"]
    assert [language(code) for code in codes] == ["de", "de", "de", "de", "zh", "zh", "ja", "ace", "", "??"]
