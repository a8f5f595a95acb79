"""Ids, characters and text equal to Transformers', family by family; tokenizers/make_expectations.py recorded those."""

import functools
import json
import pickle
import re
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from regard.errors import InputError
from regard.features.tokenizer import Tokenizer

HERE = Path(__file__).with_name("tokenizers")
sys.path.append(str(HERE))

import awkward_texts as texts  # noqa: E402
import tiny_tokenizers as vocabularies  # noqa: E402
import tokenizer_cases as cases  # noqa: E402

EXPECTED = json.loads((HERE / "expectations.json").read_text("utf-8"))["families"]
FAMILIES = vocabularies.FAMILIES
PAIRED = [family for family in FAMILIES if "pairs" in EXPECTED[family]]
BYTE_LEVEL = ["gpt2", "roberta", "qwen2", "whisper"]
_KEPT = tempfile.TemporaryDirectory()  # goes with the process


@functools.cache
def directory(family: str) -> Path:
    return vocabularies.write(family, Path(_KEPT.name) / family)


@functools.cache
def tokenizer(family: str) -> Tokenizer:
    return Tokenizer.load(directory(family))


def pair_of(encoding) -> list:
    return [encoding.ids, encoding.token_type_ids, [list(pair) for pair in encoding.offsets], encoding.segments]


odd_pieces = st.sampled_from([*texts.ODD, *texts.SPELLED, "\0", "\ud800", "\udc80", "👩‍👩‍👧"])
odd_text = st.lists(st.text(st.characters()) | odd_pieces, max_size=5).map("".join)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_text_has_the_ids_and_the_way_back_that_transformers_has(family):
    loaded, expected = tokenizer(family), EXPECTED[family]
    ids = loaded.encode_batch(texts.many())
    assert ids[: cases.SHOWN] == expected["shown"]
    found = [(row, loaded.encode_plain(text), loaded.decode(row)) for row, text in zip(ids, texts.many(), strict=True)]
    differing = cases.differing(cases.digests(found), expected["texts"])
    assert not [(texts.many()[n], *found[n]) for n in differing]
    assert [loaded.encode(text) for text in texts.many()] == ids


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_and_size_are_those_of_transformers(family):
    loaded, expected = tokenizer(family), EXPECTED[family]
    assert loaded.vocab_size == expected["size"]
    assert {role: getattr(loaded, f"{role}_id") for role in cases.ROLES} == expected["roles"]


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_in_text_are_found_if_asked_for_and_only_then(family):
    loaded = tokenizer(family)
    special = {loaded.token_id(token) for token in loaded.control_tokens} - {loaded.unk_id}
    for text, expected in zip(cases.spelled(family), EXPECTED[family]["spelled"], strict=True):
        assert loaded.encode(text, parse_special=True) == expected
        assert not special & set(loaded.encode_plain(text))
        assert loaded.encode_batch([text], parse_special=True) == [expected]
        assert loaded.encode_text(text, parse_special=True).ids == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_random_ids_decode_as_in_transformers(family):
    loaded = tokenizer(family)
    rows = cases.random_ids(family, loaded.vocab_size)
    decoded = [loaded.decode(row) for row in rows]
    differing = cases.differing(cases.digests(decoded), EXPECTED[family]["noise"])
    assert not [(loaded.tokens(rows[n]), decoded[n]) for n in differing]


@pytest.mark.parametrize("family", PAIRED)
def test_pairs_have_the_types_characters_and_segments_that_transformers_gives(family):
    loaded = tokenizer(family)
    found = [pair_of(loaded.encode_pair(first, second)) for first, second in cases.pairs()]
    differing = cases.differing(cases.digests(found), EXPECTED[family]["pairs"])
    assert not [(cases.pairs()[n], *found[n]) for n in differing]


@pytest.mark.parametrize("family", PAIRED)
def test_texts_and_pairs_are_cut_as_in_transformers(family):
    loaded, expected = tokenizer(family), EXPECTED[family]["cut"]
    one = [loaded.encode_text(text, max_length=n).ids for text in texts.SENTENCES for n in cases.LENGTHS]
    assert not cases.differing(cases.digests(one), expected["one"])
    two = [pair_of(loaded.encode_pair(*pair, max_length=n)) for pair in cases.pairs()[:40] for n in cases.LENGTHS]
    assert not cases.differing(cases.digests(two), expected["two"])


@pytest.mark.parametrize("family", PAIRED)
def test_windows_over_a_long_text_are_those_of_transformers(family):
    windows = [
        [window.ids for window in tokenizer(family).windows(*cases.CONTEXT, max_length=length, stride=stride)]
        for length, stride in cases.STRIDES
    ]
    assert cases.digests(windows) == EXPECTED[family]["cut"]["windows"]


@pytest.mark.parametrize("family", ["bert", "roberta", "mbart"])
def test_windows_cover_every_token_and_share_the_stride(family):
    loaded = tokenizer(family)
    whole = loaded.encode_pair(*cases.CONTEXT)
    second = [offset for offset, segment in zip(whole.offsets, whole.segments, strict=True) if segment == 1]
    windows = loaded.windows(*cases.CONTEXT, max_length=24, stride=3)
    parts = [[o for o, segment in zip(w.offsets, w.segments, strict=True) if segment == 1] for w in windows]
    assert parts[0] + [offset for part in parts[1:] for offset in part[3:]] == second
    assert [len(part) + window.cut for part, window in zip(parts, windows, strict=True)] == [len(second)] * len(parts)
    assert all(len(window.ids) <= 24 for window in windows)


def test_what_is_cut_is_counted_and_nothing_is_cut_unasked():
    loaded = tokenizer("bert")
    long = "the fox " * 400
    assert loaded.encode_text(long).cut == 0
    assert len(loaded.encode(long)) == 802
    short = loaded.encode_text(long, max_length=12)
    assert (len(short.ids), short.cut, short.ids[-1]) == (12, 790, loaded.sep_id)
    pair = loaded.encode_pair("fox " * 9, "dog " * 5, max_length=11)
    assert (pair.segments.count(0), pair.segments.count(1), pair.cut) == (4, 4, 6)


def test_a_text_is_cut_at_its_beginning_where_the_config_wants_that(tmp_path):
    config = vocabularies.write("bert", tmp_path) / "tokenizer_config.json"
    config.write_text('{"truncation_side": "left"}')
    loaded = Tokenizer.load(tmp_path)
    whole = loaded.encode("the quick brown fox")
    assert loaded.encode_text("the quick brown fox", max_length=4).ids == [whole[0], *whole[-3:]]


def test_lengths_without_room_are_refused():
    loaded = tokenizer("bert")
    with pytest.raises(InputError, match="max_length must be at least 2, for the special tokens, but is 1"):
        loaded.encode_text("the fox", max_length=1)
    with pytest.raises(InputError, match="max_length must be above 8"):
        loaded.windows("the fox", "the dog " * 9, max_length=8, stride=3)


@pytest.mark.parametrize("family", ["mbart", "mbart50", "nllb", "m2m_100"])
def test_languages_stand_where_the_family_has_them(family):
    loaded, expected = tokenizer(family), iter(EXPECTED[family]["languages"])
    for code in cases.LANGUAGES[family]:
        assert loaded.encode(cases.SAID, source_lang=code) == next(expected)
        assert loaded.encode_target(cases.SAID, code) == next(expected)
        assert loaded.language_id(code) in loaded.encode(cases.SAID, source_lang=code)
        assert loaded.encode_text(cases.SAID, source_lang=code).ids == loaded.encode(cases.SAID, source_lang=code)
    sizes = {"mbart": 25, "mbart50": 52, "nllb": 202, "m2m_100": 100}
    assert len(loaded.languages) == sizes[family]


def test_marian_reads_by_one_model_and_writes_by_the_other():
    loaded = tokenizer("marian")
    source, target = EXPECTED["marian"]["languages"]
    assert loaded.encode(cases.SAID) == source
    assert loaded.encode_target(cases.SAID) == target != source
    assert loaded.languages == {"de": loaded.tag_id(">>de<<"), "fr": loaded.tag_id(">>fr<<")}
    assert loaded.tags == [">>de<<", ">>fr<<"]
    assert loaded.encode("fox", tag=">>fr<<") == [loaded.tag_id(">>fr<<"), *loaded.encode("fox")]
    assert loaded.decode(loaded.encode("the fox", tag=">>fr<<")) == "the fox"


def test_whisper_knows_the_languages_it_hears():
    assert list(tokenizer("whisper").languages) == ["en", "de"]


@pytest.mark.parametrize(
    ("family", "code", "near"),
    [("mbart", "de", "de_DE"), ("nllb", "eng", "eng_Latn"), ("m2m_100", "eng", "en"), ("marian", "de_DE", "de")],
)
def test_an_unknown_language_is_refused_by_the_name_of_the_nearest(family, code, near):
    with pytest.raises(InputError, match=f"has no language {code}: the nearest of its [0-9]+ is ({near})$"):
        tokenizer(family).language_id(code)


def test_a_language_that_cannot_be_said_is_refused():
    with pytest.raises(InputError, match="source_lang is de"):
        tokenizer("bert").encode("fox", source_lang="de")
    with pytest.raises(InputError, match="knows no languages"):
        tokenizer("bert").language_id("de")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokenizer_goes_to_other_processes(family):
    copy = pickle.loads(pickle.dumps(tokenizer(family)))
    assert copy.encode_batch(texts.SENTENCES) == tokenizer(family).encode_batch(texts.SENTENCES)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_loads_as_it_was(family, tmp_path):
    tokenizer(family).save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.encode_batch(texts.many()) == tokenizer(family).encode_batch(texts.many())
    assert again.special_tokens == tokenizer(family).special_tokens
    assert again.encode_pair("the fox", "a dog") == tokenizer(family).encode_pair("the fox", "a dog")
    for file in directory(family).iterdir():
        if file.name != "config.json":
            assert (tmp_path / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("family", BYTE_LEVEL)
@given(text=odd_text)
def test_byte_level_tokenizers_lose_nothing(family, text):
    loaded = tokenizer(family)
    assume(family != "whisper" or not re.search(r"<\|\d+\.\d+\|>", text))  # Whisper's decoder leaves out times
    assert loaded.decode(loaded.encode(text)) == loaded.normalise(text)


@pytest.mark.parametrize("family", FAMILIES)
@given(text=odd_text)
def test_any_text_has_ids_of_the_vocabulary_and_none_is_special(family, text):
    loaded = tokenizer(family)
    special = {loaded.token_id(token) for token in loaded.control_tokens} - {loaded.unk_id}
    ids = loaded.encode_plain(text)
    assert all(0 <= i < loaded.vocab_size for i in ids)
    assert not special & set(ids)
    assert loaded.encode_text(text).ids == loaded.encode(text) == loaded.encode_batch([text])[0]


@pytest.mark.parametrize("family", PAIRED)
@given(text=odd_text)
def test_offsets_lie_in_the_text_in_its_order(family, text):
    encoding = tokenizer(family).encode_text(text)
    spans = [span for span, segment in zip(encoding.offsets, encoding.segments, strict=True) if segment == 0]
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert spans == sorted(spans) or family in ("clip", "qwen2", "t5", "xlm-roberta", "mbart50", "pegasus", "nllb")


@pytest.mark.parametrize("family", ["bert", "gpt2", "clip", "t5", "llama", "marian"])
def test_a_million_characters_are_encoded(family):
    ids = tokenizer(family).encode_plain("a" * 1_000_000)
    assert len(ids) == 1 if family == "bert" else len(ids) >= 1_000_000  # a word too long for BERT is one unknown


@pytest.mark.parametrize("family", ["bert", "gpt2", "clip", "t5", "llama", "marian"])
@pytest.mark.parametrize("text", ["the fox ", "狐", "\0"])
def test_long_texts_are_as_many_times_the_short_one(family, text):
    loaded = tokenizer(family)
    long, longer = (len(loaded.encode_plain(text * times)) for times in (1000, 10_000))
    assert abs(longer - 10 * long) <= 18  # two tokens of their own at the ends


def test_tokens_are_readable_in_all_kinds():
    assert tokenizer("bert").tokens(tokenizer("bert").encode("the foxes"))[1:3] == ["the", "fox"]
    assert "".join(tokenizer("gpt2").tokens(tokenizer("gpt2").encode("the fox"))) == "the▁fox"
    assert "".join(tokenizer("t5").tokens(tokenizer("t5").encode("the fox"))) == "▁the▁fox</s>"
    assert "".join(tokenizer("marian").tokens(tokenizer("marian").encode("the fox"))) == "▁the▁fox</s>"
    assert tokenizer("bert").tokens([10**6]) == ["<1000000?>"]
