"""A stream of ids gives the text of all of them, in pieces that nothing is taken back from."""

import functools
import random
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.config import TokenizerConfig
from regard.features.text_stream import Finish
from regard.features.tokenizer import TextStream, Tokenizer

sys.path.append(str(Path(__file__).with_name("tokenizers")))

import awkward_texts as texts
import tiny_tokenizers as vocabularies

FAMILIES = [*vocabularies.FAMILIES, "own bpe", "own unigram"]
_KEPT = tempfile.TemporaryDirectory()


@functools.cache
def tokenizer(family: str) -> Tokenizer:
    if family.startswith("own "):
        size = 420 if family == "own unigram" else 340
        config = TokenizerConfig(algorithm=family.split()[1], vocab_size=size)
        return Tokenizer.train(texts.SENTENCES[:9] * 8, config, [">>de<<"])
    return Tokenizer.load(vocabularies.write(family, Path(_KEPT.name) / family))


def streamed(stream: TextStream, ids: list[int], sizes: list[int]) -> list[str]:
    pieces = []
    for size in sizes:
        pieces.append(stream.push(ids[:size]))
        ids = ids[size:]
    return [*pieces, stream.push(ids), stream.finish()]


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=st.integers(0, 10**6), length=st.integers(0, 60), sizes=st.lists(st.integers(0, 4), max_size=60))
def test_the_pieces_of_random_ids_are_what_decode_gives(family, seed, length, sizes):
    loaded = tokenizer(family)
    noise = random.Random(seed)
    ids = [noise.randrange(loaded.vocab_size + 2) for _ in range(length)]
    assert "".join(streamed(loaded.stream(), ids, sizes)) == loaded.decode(ids)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", [*texts.SENTENCES, *texts.ODD])
def test_the_pieces_of_a_text_one_id_at_a_time_are_what_decode_gives(family, text):
    loaded = tokenizer(family)
    ids = loaded.encode(text)
    assert "".join(streamed(loaded.stream(), ids, [1] * len(ids))) == loaded.decode(ids)


@pytest.mark.parametrize("family", ["gpt2", "llama", "own bpe", "own unigram"])
def test_no_piece_holds_half_a_character(family):
    loaded = tokenizer(family)
    text = "狐 👩‍👩‍👧 über 𝕏 日本語 😀😀"
    ids = loaded.encode_plain(text)
    pieces = streamed(loaded.stream(), ids, [1] * len(ids))
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) == text


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "own bpe"])
def test_a_whole_character_comes_at_once(family):
    loaded = tokenizer(family)
    stream = loaded.stream()
    ids = loaded.encode_plain("€uro")
    assert [stream.push([i]) for i in ids[:3]] == ["", "", "€"]


@pytest.mark.parametrize("family", ["gpt2", "t5", "bert", "llama"])
def test_words_come_as_soon_as_they_are_whole(family):
    loaded = tokenizer(family)
    stream = loaded.stream()
    seen = "".join(stream.push([i]) for i in loaded.encode_plain("the fox and the dog"))
    assert seen == "the fox and the dog"
    assert stream.finish() == ""


def test_special_tokens_are_no_part_of_the_stream():
    loaded = tokenizer("llama")
    stream = loaded.stream()
    ids = loaded.encode("the fox")
    assert stream.push([loaded.eos_id, *ids, loaded.eos_id]) + stream.finish() == "the fox"


def test_the_prompt_that_whisper_was_given_is_no_part_of_its_text():
    loaded = tokenizer("whisper")
    before, start = loaded.token_id("<|startofprev|>"), loaded.token_id("<|startoftranscript|>")
    ids = [before, *loaded.encode_plain("a prompt"), start, *loaded.encode_plain("the<|0.02|>fox", parse_special=True)]
    assert loaded.decode(ids) == "thefox"
    assert "".join(streamed(loaded.stream(), ids, [1] * len(ids))) == "thefox"
    assert loaded.decode(ids[:4]) == ""


fragments = st.sampled_from([*" .?!,'ntmsvrexa\n<|/w>01", " ' ", " n't", " 've", "</w>", "<|0.1|>", "<|12.", "  "])


@given(
    text=st.lists(fragments, max_size=20).map("".join), cuts=st.lists(st.integers(1, 3), max_size=40), data=st.data()
)
@settings(max_examples=500)
def test_what_is_settled_never_changes(text, cuts, data):
    flags = {name: data.draw(st.booleans()) for name in ("clean_up", "strip")}
    kind = data.draw(st.sampled_from([{}, {"word_end": "</w>"}, {"timestamps": True}]))
    letters = Letters(Finish(**flags, **kind))
    stream = TextStream(letters)
    assert "".join(streamed(stream, [ord(letter) for letter in text], cuts)) == letters.finish(text)


class Letters:
    """Each id is a character."""

    def __init__(self, finish: Finish) -> None:
        self.finish = finish

    def is_visible(self, token_id):
        return True

    def visible(self, ids):
        return list(ids)

    def joined(self, ids):
        return "".join(map(chr, ids))

    def is_unsettled(self, token_id):
        return False


def test_spaces_before_punctuation_go_where_the_config_says_so():
    finish = Finish(clean_up=True)
    assert finish("do n't go , it 's I 'm we 've . yes ! no ? a ' b") == "don't go, it's I'm we've. yes! no? a'b"
    assert tokenizer("bert-cased").decode(tokenizer("bert-cased").encode("the fox, the dog.")) == "the fox, the dog."


def test_pieces_lose_the_spaces_before_punctuation_if_the_config_says_so(tmp_path):
    vocabularies.write("xlm-roberta", tmp_path)
    assert (
        Tokenizer.load(tmp_path).decode(Tokenizer.load(tmp_path).encode("the fox , the dog .")) == "the fox , the dog ."
    )
    config = {"tokenizer_class": "XLMRobertaTokenizer", "clean_up_tokenization_spaces": True}
    vocabularies.write_json(tmp_path / "tokenizer_config.json", config)
    loaded = Tokenizer.load(tmp_path)
    ids = loaded.encode("the fox , the dog .")
    assert loaded.decode(ids) == "".join(streamed(loaded.stream(), ids, [1] * len(ids))) == "the fox, the dog."


def test_byte_pairs_keep_the_spaces_of_the_text_whatever_the_config_says(tmp_path):
    vocabularies.write("gpt2", tmp_path)
    config = {"tokenizer_class": "GPT2Tokenizer", "clean_up_tokenization_spaces": True}
    vocabularies.write_json(tmp_path / "tokenizer_config.json", config)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.decode(loaded.encode("the fox , the dog .")) == "the fox , the dog ."
