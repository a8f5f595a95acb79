import functools
import json
import logging
import pickle
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.config import TokenizerConfig
from regard.errors import CheckpointError, ConfigError, InputError
from regard.features.tokenizer import Tokenizer

LINES = [
    "The quick brown fox jumps over the lazy dog, twice.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "敏捷的棕色狐狸跳过了懒狗。今天是2024年3月15日",
    "すばやい茶色の狐がのろまな犬を飛び越える",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "a corpus may hold </s> and <pad> and <unk> and >>de<< as text",
] * 8
RANDOM = random.Random(0)
MANY_WORDS = [" ".join("".join(RANDOM.choices("abcdefghij", k=5)) for _ in range(20)) for _ in range(100)]
TAGS = (">>de<<", ">>zh-Hans<<")
ALGORITHMS = ("bpe", "unigram")


@functools.cache
def tokenizer(algorithm: str = "bpe", normalizer: str = "nfc") -> Tokenizer:
    size = 420 if algorithm == "unigram" else 340
    config = TokenizerConfig(algorithm=algorithm, vocab_size=size, normalizer=normalizer)
    return Tokenizer.train(LINES, config, TAGS)


odd_pieces = st.sampled_from(
    [*"</s> <pad> <unk> >>de<< <0xE6> ▁ \0 \ud800 é e\u0301 👩‍👩‍👧 ﬁ 狐".split(" "), " ", "  ", "\t", "\r\n"]
)
any_text = st.lists(st.text(st.characters()) | odd_pieces).map("".join)


@pytest.mark.parametrize("normalizer", ["none", "nfc", "nfkc"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(text=any_text)
@settings(deadline=None)
def test_decoding_inverts_encoding_up_to_normalisation(algorithm, normalizer, text):
    trained = tokenizer(algorithm, normalizer)
    assert trained.decode(trained.encode(text)) == trained.normalise(text)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "text",
    ["你好，世界", "日本語のテキスト", "👩‍👩‍👧 🏳️‍🌈", "مرحبا بالعالم", "שלום हिन्दी", " both ends ", "a   b\t c\n", ""],
)
def test_scripts_emoji_and_spaces_survive_a_round_trip(algorithm, text):
    trained = tokenizer(algorithm)
    assert trained.decode(trained.encode(text)) == text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(text=any_text)
@settings(deadline=None)
def test_no_text_becomes_a_special_token(algorithm, text):
    trained = tokenizer(algorithm)
    specials = {trained.pad_id, trained.eos_id, trained.unk_id, *map(trained.tag_id, TAGS)}
    *pieces, last = trained.encode(text)
    assert last == trained.eos_id
    assert not specials & set(pieces)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_lone_surrogate_becomes_the_replacement_character(algorithm):
    trained = tokenizer(algorithm)
    assert trained.decode(trained.encode("a\udc80b")) == "a\ufffdb"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_layout_is_marians(algorithm):
    trained = tokenizer(algorithm)
    assert (trained.eos_id, trained.unk_id, trained.tag_id(">>de<<"), trained.tag_id(">>zh-Hans<<")) == (0, 1, 2, 3)
    assert trained.pad_id == trained.vocab_size - 1
    assert trained.tags == list(TAGS)
    assert trained.tag_id("the") is None
    ids = json.loads(trained.content)["model"]["vocab"]
    assert len(ids) == trained.vocab_size - 1


@pytest.mark.parametrize(("algorithm", "size"), [("bpe", 300), ("bpe", 500), ("unigram", 300), ("unigram", 500)])
def test_the_vocabulary_has_the_size_asked_for_where_the_corpus_fills_it(algorithm, size):
    assert Tokenizer.train(MANY_WORDS, TokenizerConfig(algorithm=algorithm, vocab_size=size), TAGS).vocab_size == size


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_small_corpus_gives_a_smaller_vocabulary_and_a_warning(algorithm, caplog):
    with caplog.at_level(logging.WARNING):
        trained = Tokenizer.train(LINES, TokenizerConfig(algorithm=algorithm, vocab_size=20000))
    assert trained.vocab_size < 20000
    assert trained.pad_id == trained.vocab_size - 1
    assert "below tokenizer.vocab_size = 20000" in caplog.text


def test_more_characters_than_room_in_a_unigram_vocabulary_are_spelled_in_bytes(caplog):
    han = "".join(chr(0x4E00 + i) for i in range(200))
    with caplog.at_level(logging.WARNING):
        trained = Tokenizer.train([han, *LINES], TokenizerConfig(algorithm="unigram", vocab_size=300))
    assert trained.vocab_size == 300
    assert "has room for" in caplog.text
    assert trained.decode(trained.encode(han)) == han


def test_coverage_leaves_rare_characters_to_bytes():
    lines = ["common words only here"] * 99 + ["罕"]
    full, partial = (
        Tokenizer.train(lines, TokenizerConfig(algorithm="unigram", vocab_size=300, coverage=share))
        for share in (1.0, 0.999)
    )
    assert len(full.encode("罕")) == 2
    assert len(partial.encode("罕")) == 4
    assert len(partial.encode("c")) == 2
    assert partial.decode(partial.encode("罕")) == "罕"


def test_coverage_belongs_to_unigram():
    with pytest.raises(ConfigError, match="coverage is for unigram"):
        Tokenizer.train(LINES, TokenizerConfig(algorithm="bpe", coverage=0.99))


@pytest.mark.parametrize("tags", [("de",), (">>...<<",), (">>a b<<",), (">>de<<", ">>de<<")])
def test_tags_that_text_could_spell_are_refused(tags):
    with pytest.raises(ConfigError, match="tag"):
        Tokenizer.train(LINES, TokenizerConfig(), tags)


def test_a_vocabulary_too_small_for_its_tags_is_refused():
    tags = [f">>l{n}<<" for n in range(60)]
    with pytest.raises(ConfigError, match="must be at least 320"):
        Tokenizer.train(LINES, TokenizerConfig(vocab_size=300), tags)


def test_equal_lines_give_equal_bytes_in_every_process():
    code = (
        "from regard.features.tokenizer import Tokenizer; from regard.config import TokenizerConfig\n"
        f"print(Tokenizer.train({MANY_WORDS!r}, TokenizerConfig(vocab_size=500)).content_hash)"
    )
    hashes = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)}
    assert len(hashes) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_saving_and_loading_keeps_every_byte(algorithm, tmp_path):
    trained = tokenizer(algorithm)
    trained.save(tmp_path / "first")
    loaded = Tokenizer.load(tmp_path / "first")
    loaded.save(tmp_path / "second")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert loaded.content_hash == trained.content_hash
    assert loaded.encode("Fuchs </s> 狐") == trained.encode("Fuchs </s> 狐")
    assert Tokenizer.load(tmp_path / "first" / "tokenizer.json").encode("Hund") == trained.encode("Hund")
    assert pickle.loads(pickle.dumps(trained)).encode("Hund") == trained.encode("Hund")


def test_the_saved_config_names_the_roles_for_transformers(tmp_path):
    tokenizer().save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (config["eos_token"], config["unk_token"], config["pad_token"]) == ("</s>", "<unk>", "<pad>")
    assert config["additional_special_tokens"] == list(TAGS)
    assert config["clean_up_tokenization_spaces"] is False


def test_truncation_and_padding_of_a_tokenizer_json_are_switched_off(tmp_path):
    state = json.loads(tokenizer().content)
    state["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    state["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 339,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(state), "utf-8")
    assert Tokenizer.load(tmp_path).encode(LINES[0]) == tokenizer().encode(LINES[0])


def test_a_tag_comes_first_and_is_no_part_of_the_text():
    trained = tokenizer()
    assert trained.encode("Hund", tag=">>de<<") == [trained.tag_id(">>de<<"), *trained.encode("Hund")]
    assert trained.decode(trained.encode("Hund", tag=">>de<<")) == "Hund"
    with pytest.raises(InputError, match=r"no language tag >>fr<<: it knows >>de<<, >>zh-Hans<<"):
        trained.encode("Hund", tag=">>fr<<")


@given(texts=st.lists(any_text, max_size=5))
@settings(deadline=None)
def test_a_batch_is_encoded_as_its_texts_are(texts):
    assert tokenizer().encode_batch(texts) == [tokenizer().encode(text) for text in texts]


def test_padding_and_other_special_ids_do_not_show_in_decoded_text():
    trained = tokenizer()
    assert trained.decode([trained.pad_id, *trained.encode("Hund"), trained.pad_id, trained.unk_id]) == "Hund"


def test_tokens_are_readable():
    byte_level, unigram = tokenizer(), tokenizer("unigram")
    pieces = byte_level.tokens(byte_level.encode("The dog 狐", tag=">>de<<"))
    assert (pieces[0], pieces[-1]) == (">>de<<", "</s>")
    assert "".join(pieces[1:-1]).startswith("The▁dog▁")
    assert "".join(byte_level.tokens(byte_level.encode("€")[:-1])) == "\\xe2\\x82\\xac"
    assert "".join(unigram.tokens(unigram.encode("The dog")[:-1])) == "The▁dog"


def test_a_hundred_thousand_equal_letters_are_encoded():
    assert tokenizer().decode(tokenizer().encode("a" * 100_000)) == "a" * 100_000


def test_digits_are_pieces_of_their_own():
    assert tokenizer().tokens(tokenizer().encode("2024"))[:-1] == ["2", "0", "2", "4"]


@pytest.mark.parametrize("content", [None, "", "{}", "not json", '{"version": "1.0"}'])
def test_what_is_no_tokenizer_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("config", ["[]", "{", '{"pad_token": "[PAD]"}', '{"eos_token": {"content": "[EOS]"}}'])
def test_a_config_that_does_not_fit_its_tokenizer_is_refused(config, tmp_path):
    tokenizer().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(CheckpointError, match="tokenizer"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("added", ["two words", "天气"])
def test_an_added_token_of_a_foreign_byte_level_tokenizer_is_shown_as_it_is(added, tmp_path):
    state = json.loads(tokenizer().content)
    new = {**state["added_tokens"][-1], "id": tokenizer().vocab_size, "content": added, "special": False}
    state["added_tokens"].append(new)
    (tmp_path / "tokenizer.json").write_text(json.dumps(state), "utf-8")
    assert Tokenizer.load(tmp_path).tokens([new["id"]]) == [added.replace(" ", "▁")]


@pytest.mark.parametrize(("tags", "fits"), [(38, True), (39, True), (40, False)])
def test_a_unigram_vocabulary_with_no_room_for_a_piece_is_refused(tags, fits):
    config = TokenizerConfig(algorithm="unigram", vocab_size=300)
    names = [f">>l{n}<<" for n in range(tags)]
    if fits:
        assert Tokenizer.train(LINES, config, names).vocab_size <= 300
    else:
        with pytest.raises(ConfigError, match=r"vocab_size must be at least 301 .* but is 300"):
            Tokenizer.train(LINES, config, names)
