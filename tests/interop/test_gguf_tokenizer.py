"""The tokenizer inside a GGUF file: rules that its names imply, merges that its scores imply, special tokens."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from regard.errors import CheckpointError
from regard.interop.gguf_tokenizer import tokenizer_config, tokenizer_json

FILE = Path("model.gguf")
SPECIALS = ["<|end|>", "<|im_start|>", "<|im_end|>"]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
TEXTS = [
    "Hello world, hello  world!\n\nIt's 2024 and I'd pay 1234567.5 € for 3x²",
    "def f(x):\n    return x_1 + 0x7f  # 你好，世界 2 ½ ①",
    " leading and trailing \t\r\n",
    "😀👩‍👩‍👧 naïve café DON'T",
    "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n",
    "",
    "\n\n 42",
]


def trained(split: pre_tokenizers.PreTokenizer, normalizer=None, **model) -> tokenizers.Tokenizer:
    """A byte-level tokenizer as a model may ship it, made by the tokenizers library alone."""
    tokenizer = tokenizers.Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer, tokenizer.decoder = split, decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def metadata_of(tokenizer: tokenizers.Tokenizer, pre: str, **more) -> dict:
    """What llama.cpp's converter keeps of it."""
    ids = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(ids, key=ids.__getitem__)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return metadata(
        model="gpt2",
        pre=pre,
        tokens=[*tokens, "[PAD1]", "[PAD2]"],
        token_type=np.array([CONTROL if token in SPECIALS else NORMAL for token in tokens] + [UNUSED] * 2),
        merges=[" ".join(pair) for pair in merges],
        **more,
    )


def metadata(architecture: str = "llama", template: str | None = None, **keys) -> dict:
    general = {"general.architecture": architecture, f"{architecture}.context_length": 99}
    own = {f"tokenizer.ggml.{key}": value for key, value in keys.items() if value is not None}
    return general | own | ({} if template is None else {"tokenizer.chat_template": template})


def read(values: dict) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_buffer(tokenizer_json(values, FILE))


def splits(values: dict, text: str) -> list[str]:
    """The words that are cut into pieces, one by one."""
    words = read(values).pre_tokenizer.pre_tokenize_str(text)
    return [text[start:end] for _, (start, end) in words]


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
ENDS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2, PLAIN = pre_tokenizers.ByteLevel(False), pre_tokenizers.ByteLevel(False, use_regex=False)


def by(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), PLAIN])


SHIPPED = {
    "gpt-2": (GPT2, {}),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(True), GPT2]), {}),
    "llama-bpe": (by(CONTRACTIONS + r"\p{N}{1,3}" + ENDS), {"ignore_merges": True}),
    "qwen2": (by(CONTRACTIONS + r"\p{N}" + ENDS), {"normalizer": normalizers.NFC()}),
}


@pytest.mark.parametrize("pre", SHIPPED)
def test_ids_and_text_are_those_of_the_tokenizer_that_was_converted(pre):
    split, model = SHIPPED[pre]
    shipped = trained(split, **model)
    ours = read(metadata_of(shipped, pre, add_bos_token=False))
    assert ours.get_vocab() == shipped.get_vocab()
    for text in [*TEXTS, "e\u0301", "Äpfel 100", "it'S"]:
        ids = shipped.encode(text).ids
        assert ours.encode(text).ids == ids, text
        assert ours.decode(ids, skip_special_tokens=False) == shipped.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("gpt-2", ["I", "'M", " 12345½", " x", "..", "\n"]),
        ("smollm", ["I", "'M", " ", "1", "2", "3", "4", "5", "½", " x", "..", "\n"]),
        ("llama-bpe", ["I", "'M", " ", "123", "45½", " x", "..\n"]),
        ("qwen2", ["I", "'M", " ", "1", "2", "3", "4", "5", "½", " x", "..\n"]),
        ("tekken", ["I", "'M", " ", "1", "2", "3", "4", "5", "½", " x", "..\n"]),
        ("default", ["I", "'", "M", " ", "123", "45½", " x", "..", "\n"]),
    ],
)
def test_the_name_of_the_pre_tokenizer_says_how_words_are_cut(pre, words):
    values = metadata_of(trained(GPT2), pre, bos_token_id=0)
    if pre in ("gpt-2", "smollm"):  # the apostrophe's rule of GPT-2 knows small letters alone
        words = ["I", "'", "M", *words[2:]]
    assert splits(values, "I'M 12345½ x..\n") == words


def test_tekken_begins_a_word_where_capitals_begin():
    values = metadata_of(trained(GPT2), "tekken", bos_token_id=0)
    assert splits(values, "camelCase HTTPServer Éa") == ["camel", "Case", " HTTPServer", " Éa"]


def test_a_file_without_the_name_is_cut_as_its_architecture_always_was(caplog):
    shipped = trained(GPT2)
    for architecture, words in {"gpt2": ["a", " 1234"], "qwen2": ["a", " ", "1", "2", "3", "4"]}.items():
        assert splits(metadata_of(shipped, None, architecture=architecture), "a 1234") == words
    assert not caplog.text
    assert splits(metadata_of(shipped, None), "a 1234") == ["a", " ", "123", "4"]
    assert "names no pre-tokenizer" in caplog.text


def test_a_word_that_is_a_token_stays_whole_where_merges_are_ignored():
    tokens = {"model": "gpt2", "tokens": ["a", "b", "c", "ab", "abc", "<s>"], "merges": ["a b"], "bos_token_id": 5}
    assert read(metadata(pre="llama-bpe", **tokens)).encode("abc").ids == [5, 4]
    assert read(metadata(pre="gpt-2", **tokens)).encode("abc").ids == [3, 2]


def test_dummies_that_fill_the_table_are_no_tokens():
    values = metadata_of(trained(GPT2), "gpt-2")
    tokenizer = read(values)
    assert len(values["tokenizer.ggml.tokens"]) == tokenizer.get_vocab_size() + 2
    assert tokenizer.token_to_id("[PAD1]") is None


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = (
    "▁ e t a o h l r w d ▁t he ▁a er ll ▁the ▁he hello ▁hell ▁hello lo hel ä ▁▁ aa aaa ▁w or ▁wor ld ▁world".split()
)


def sentencepiece(**more) -> dict:
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *PIECES, "<tool>"]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(PIECES), USER_DEFINED]
    rank = {piece: i for i, piece in enumerate(sorted(PIECES, key=len))}
    scores = np.array([-float(rank.get(token, 0)) for token in tokens], "f4")
    return metadata(model="llama", tokens=tokens, token_type=np.array(types, "i4"), scores=scores, **more)


def merged(text: str, values: dict) -> list[str]:
    """SentencePiece's BPE as its paper has it: again and again, the neighbours that make the best piece become one."""
    scores = dict(zip(values["tokenizer.ggml.tokens"], values["tokenizer.ggml.scores"], strict=True))
    symbols = list("▁" + text.replace(" ", "▁"))
    while True:
        pairs = [(-scores.get(a + b, -np.inf), i) for i, (a, b) in enumerate(pairwise(symbols))]
        best, at = min(pairs, default=(np.inf, 0))
        if best == np.inf:
            break
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    spelled = [[s] if s in scores else [f"<0x{byte:02X}>" for byte in s.encode()] for s in symbols]
    return [piece for pieces in spelled for piece in pieces]


@pytest.mark.parametrize("text", ["hello world", "the  other", "aaaa aaaaa", "er zählt 7€", "tell all\nhe", "", "   "])
def test_scores_give_the_pieces_of_sentencepiece_and_bytes_spell_the_rest(text):
    values = sentencepiece()
    tokenizer = read(values)
    assert tokenizer.encode(text, add_special_tokens=False).tokens == (merged(text, values) if text else [])
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_better_score_wins_and_equal_scores_go_by_id():
    def tokens(scores):
        values = metadata(
            model="llama",
            tokens=["<unk>", "▁", "a", "b", "c", "ab", "bc"],
            token_type=np.array([UNKNOWN, *[NORMAL] * 6]),
            scores=np.array([0, 0, 0, 0, 0, *scores], "f4"),
            add_bos_token=False,
        )
        return read(values).encode("abc").tokens

    assert tokens((-1, -2)) == ["▁", "ab", "c"]
    assert tokens((-2, -1)) == ["▁", "a", "bc"]
    assert tokens((-1, -1)) == ["▁", "ab", "c"]


def test_no_space_is_put_first_where_the_file_says_so():
    tokenizer = read(sentencepiece(add_space_prefix=False))
    assert tokenizer.encode("hello").tokens == ["<s>", "he", "ll", "o"]
    assert tokenizer.decode(tokenizer.encode(" the").ids) == " the"
    assert read(sentencepiece()).encode("hello").tokens == ["<s>", "▁hello"]


@pytest.mark.parametrize(
    ("flags", "frame"),
    [
        ({}, (1, None)),
        ({"add_bos_token": False}, (None, None)),
        ({"add_eos_token": True}, (1, 2)),
        ({"add_bos_token": False, "add_eos_token": True}, (None, 2)),
    ],
)
def test_bos_and_eos_are_added_as_the_file_says(flags, frame):
    first, last = ([token] if token is not None else [] for token in frame)
    tokenizer = read(sentencepiece(**flags))
    text = tokenizer.encode("the", add_special_tokens=False).ids
    assert tokenizer.encode("the").ids == [*first, *text, *last]
    assert tokenizer.encode("the", "the").ids == [*first, *text, *last] * 2


def test_byte_level_bpe_adds_bos_only_where_the_file_or_the_name_says_so():
    shipped = trained(GPT2)
    for pre, added in {"gpt-2": False, "smollm": False, "qwen2": False, "llama-bpe": True, "tekken": True}.items():
        assert (read(metadata_of(shipped, pre, bos_token_id=1)).encode("a").ids[0] == 1) == added, pre
        told = metadata_of(shipped, pre, bos_token_id=1, add_bos_token=not added)
        assert (read(told).encode("a").ids[0] == 1) != added, pre
    with pytest.raises(CheckpointError, match=r"wants bos added, and names no tokenizer.ggml.bos_token_id"):
        read(metadata_of(shipped, "llama-bpe"))


def test_special_tokens_are_found_whole_and_only_control_tokens_are_left_out_of_text():
    tokenizer = read(sentencepiece())
    ids = tokenizer.encode("a<tool>a</s>").ids
    assert ids[0] == 1
    assert ids[-1] == 2
    assert tokenizer.token_to_id("<tool>") in ids
    assert tokenizer.decode(ids) == "a<tool> a"
    tokenizer.encode_special_tokens = True
    assert 2 not in tokenizer.encode("</s>").ids[1:]


def test_old_files_without_types_have_their_bos_and_eos_as_special_tokens():
    values = metadata_of(trained(GPT2), "gpt-2", bos_token_id=1, eos_token_id=2)
    del values["tokenizer.ggml.token_type"]
    assert read(values).encode("<|im_end|>").ids == [2]
    assert len(read(values).encode("<|end|>").ids) > 1


def test_the_config_names_roles_and_template():
    values = metadata_of(
        trained(GPT2), "smollm", bos_token_id=1, eos_token_id=2, unknown_token_id=0, template="{{ messages }}"
    )
    assert tokenizer_config(values, FILE) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 99,
        "chat_template": "{{ messages }}",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|end|>",
    }
    config = tokenizer_config(sentencepiece(padding_token_id=2**32 - 1), FILE)
    assert (config["bos_token"], config["eos_token"], config["unk_token"]) == ("<s>", "</s>", "<unk>")
    assert not {"pad_token", "chat_template"} & config.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert"}, "a tokenizer of the kind 'bert': Regard knows gpt2"),
        ({"model": None}, "a tokenizer of the kind ''"),
        ({"pre": "viking"}, "the pre-tokenizer 'viking': Regard knows codeshell, "),
        ({"pre": 3}, "tokenizer.ggml.pre must be a text, but is 3"),
        ({"tokens": None}, "has no list of texts tokenizer.ggml.tokens"),
        ({"tokens": ["a", "b", "a"]}, "two tokens of the vocabulary are 'a'"),
        ({"tokens": ["a", "b", "c" * 513]}, "a token of 513 characters: at most 512"),
        ({"merges": None}, "has no list of texts tokenizer.ggml.merges"),
        ({"merges": ["a b", "a c"]}, "'a c' is no merge of two tokens into a third"),
        ({"merges": ["ab"]}, "'ab' is no merge"),
        ({"token_type": np.array([1, 1])}, "token_type must have a number for each of its tokens"),
        ({"token_type": np.ones(3, "f4")}, "token_type must have a number for each of its tokens"),
        ({"eos_token_id": 3}, "eos_token_id must be a token of the vocabulary of 3, but is 3"),
        ({"add_bos_token": 1}, "add_bos_token must be true or false, but is 1"),
        ({"model": "llama", "bos_token_id": 0, "eos_token_id": 0}, "scores must have a number for each of its tokens"),
    ],
)
def test_what_no_tokenizer_can_be_made_of_is_refused_by_name(changes, message):
    values = {"model": "gpt2", "pre": "gpt-2", "tokens": ["a", "b", "ab"], "merges": ["a b"]}
    assert read(metadata(**values)).encode("ab").ids == [2]
    with pytest.raises(CheckpointError, match="model.gguf.*" + message) as error:
        tokenizer_json(metadata(**values | changes), FILE)
    assert "\n" not in str(error.value)
