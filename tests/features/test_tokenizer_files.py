"""Which files of a directory count, what they say together, and what is refused."""

import json
import random
import sys
from pathlib import Path

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from regard.errors import CheckpointError
from regard.features.tokenizer import Tokenizer

sys.path.append(str(Path(__file__).with_name("tokenizers")))

import awkward_texts as texts
import tiny_tokenizers as vocabularies


def write(directory: Path, family: str, **config: object) -> Path:
    vocabularies.write(family, directory)
    file = directory / "tokenizer_config.json"
    said = json.loads(file.read_text("utf-8")) if file.exists() else {}
    vocabularies.write_json(file, {**said, **config})
    return directory


def test_a_directory_without_a_tokenizer_is_told_what_was_looked_for(tmp_path):
    names = ["tokenizer.json", "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "source.spm"]
    for present in ("README.md", "vocab.json", "merges.txt"):
        directory = tmp_path / present
        directory.mkdir()
        (directory / present).write_text('{"a": 0}')
        with pytest.raises(CheckpointError, match="has no tokenizer") as caught:
            Tokenizer.load(directory)
        assert all(name in str(caught.value) for name in names)
        assert "\n" not in str(caught.value)


def test_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no-such-place"):
        Tokenizer.load(tmp_path / "no-such-place")


def test_tokenizer_json_comes_before_all_other_files(tmp_path):
    write(tmp_path / "gpt2", "gpt2")
    Tokenizer.load(tmp_path / "gpt2").save(tmp_path / "mixed")
    vocabularies.write("bert", tmp_path / "mixed")
    (tmp_path / "mixed" / "config.json").unlink()
    assert Tokenizer.load(tmp_path / "mixed").algorithm == "BPE"


@pytest.mark.parametrize(
    ("family", "algorithm"),
    [("bert", "WordPiece"), ("gpt2", "BPE"), ("t5", "Unigram"), ("nllb", "BPE"), ("marian", "SentencePiece")],
)
def test_each_kind_of_file_is_found(family, algorithm, tmp_path):
    assert Tokenizer.load(vocabularies.write(family, tmp_path)).algorithm == algorithm


def test_the_models_type_names_the_family_where_no_tokenizer_config_does(tmp_path):
    vocabularies.write("xlm-roberta", tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode("the")[0] == loaded.bos_id == 0
    (tmp_path / "config.json").write_text('{"model_type": "mbart"}')
    assert "ro_RO" in Tokenizer.load(tmp_path).languages


def test_a_captioner_has_its_decoders_tokenizer(tmp_path):
    vocabularies.write("gpt2", tmp_path)
    config = {"model_type": "vision-encoder-decoder", "decoder": {"model_type": "gpt2"}, "encoder": {}}
    vocabularies.write_json(tmp_path / "config.json", config)
    assert Tokenizer.load(tmp_path).eos_id == Tokenizer.load(tmp_path).token_id("<|endoftext|>")


def test_bert_lowers_and_strips_as_the_config_says(tmp_path):
    write(tmp_path / "lower", "bert", do_lower_case=True, strip_accents=False)
    write(tmp_path / "cased", "bert", do_lower_case=False, tokenize_chinese_chars=False)
    assert Tokenizer.load(tmp_path / "lower").normalise("ÉÀ 狐") == "éà  狐 "
    assert Tokenizer.load(tmp_path / "cased").normalise("ÉÀ 狐") == "ÉÀ 狐"


def test_a_config_that_was_edited_wins_over_the_tokenizer_json(tmp_path):
    Tokenizer.load(write(tmp_path / "a", "bert", do_lower_case=True)).save(tmp_path / "b")
    assert Tokenizer.load(tmp_path / "b").normalise("THE") == "the"
    vocabularies.write_json(tmp_path / "b" / "tokenizer_config.json", {"do_lower_case": False})
    assert Tokenizer.load(tmp_path / "b").normalise("THE") == "THE"
    Tokenizer.load(write(tmp_path / "c", "gpt2", add_prefix_space=False)).save(tmp_path / "d")
    first = Tokenizer.load(tmp_path / "d").encode("the")
    vocabularies.write_json(tmp_path / "d" / "tokenizer_config.json", {"add_prefix_space": True})
    assert Tokenizer.load(tmp_path / "d").encode("the") != first


def test_special_tokens_map_names_roles_where_the_config_lists_no_added_tokens(tmp_path):
    write(tmp_path, "gpt2")
    roles = {"pad_token": {"content": "!"}, "eos_token": "<|endoftext|>"}
    vocabularies.write_json(tmp_path / "special_tokens_map.json", roles)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.pad_id == loaded.token_id("!")
    write(tmp_path, "gpt2", added_tokens_decoder={})
    assert Tokenizer.load(tmp_path).pad_id is None


def test_a_role_may_be_null(tmp_path):
    assert Tokenizer.load(write(tmp_path, "gpt2", unk_token=None)).unk_id is None


def test_a_role_that_is_needed_but_absent_is_named(tmp_path):
    loaded = Tokenizer.load(write(tmp_path, "gpt2"))
    assert loaded.id_of("eos") == loaded.eos_id
    with pytest.raises(CheckpointError, match="has no pad_token, which is needed here"):
        loaded.id_of("pad")


def test_added_tokens_are_one_token_and_have_the_ids_they_claim(tmp_path):
    vocabularies.write("gpt2", tmp_path)
    size = Tokenizer.load(tmp_path).vocab_size
    vocabularies.write_json(tmp_path / "added_tokens.json", {"<tool>": size, "two words": size + 1})
    config = {"additional_special_tokens": ["<tool>"], "tokenizer_class": "GPT2Tokenizer"}
    vocabularies.write_json(tmp_path / "tokenizer_config.json", config)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode("two words") == [size + 1]  # no special token, so it is found in any text
    assert loaded.encode("<tool>") != [size]
    assert loaded.encode("<tool>", parse_special=True) == [size]
    assert loaded.decode([size, size + 1]) == "two words"
    vocabularies.write_json(tmp_path / "added_tokens.json", {"<tool>": size + 7})
    with pytest.raises(CheckpointError, match=f"'<tool>' has the id {size}, not {size + 7}"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("config", "sentences", "length"),
    [
        ({"model_max_length": 512}, {}, 512),
        ({"model_max_length": 1e30}, {}, None),
        ({}, {}, None),
        ({"model_max_length": 512}, {"max_seq_length": 256}, 256),
        ({"model_max_length": 512}, {"max_seq_length": None}, 512),
    ],
)
def test_the_length_that_the_model_was_made_for(config, sentences, length, tmp_path):
    write(tmp_path, "bert", **config)
    vocabularies.write_json(tmp_path / "sentence_bert_config.json", sentences)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.max_length == length
    assert len(loaded.encode("fox " * 700)) == 702


def test_mbart_keeps_the_normalisation_of_its_model(tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(vocabularies.piece_model())
    vocabularies.write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "MBartTokenizer"})
    assert Tokenizer.load(tmp_path).normalise("ｆｏｘ") == "fox"


@pytest.mark.parametrize("text", ["  two  spaces", " the fox", "the   fox ", "", "\n the", "über 😀"])
def test_llama_reads_spaces_as_sentencepiece_does(text, tmp_path):
    write(tmp_path, "llama", legacy=True)
    expected = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model")).encode(text)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode_plain(text) == expected
    assert loaded.decode(expected) == text


def test_llamas_pieces_join_by_their_scores_and_not_by_their_ids(tmp_path):
    write(tmp_path, "llama")
    file = tmp_path / "tokenizer.model"
    model = sentencepiece_model_pb2.ModelProto.FromString(file.read_bytes())
    normal = [piece for piece in model.pieces if piece.type == vocabularies.NORMAL]
    for piece, score in zip(normal, random.Random(3).sample(range(len(normal)), len(normal)), strict=True):
        piece.score = -score
    file.write_bytes(model.SerializeToString())
    reference = sentencepiece.SentencePieceProcessor(model_file=str(file))
    loaded = Tokenizer.load(tmp_path)
    for text in texts.SENTENCES:
        assert loaded.encode_plain(text) == reference.encode(text)


def test_merges_that_end_in_a_special_token_do_not_make_one_of_text(tmp_path):
    write(tmp_path, "gpt2", eos_token="the")
    vocabulary = json.loads((tmp_path / "vocab.json").read_text("utf-8"))
    vocabularies.write_json(tmp_path / "vocab.json", {**vocabulary, "the": len(vocabulary)})
    (tmp_path / "merges.txt").write_text("h e\nt he\n", "utf-8")
    loaded = Tokenizer.load(tmp_path)
    assert loaded.tokens(loaded.encode_plain("the")) == ["t", "he"]
    assert loaded.encode_plain("the", parse_special=True) == [loaded.eos_id]


@pytest.mark.parametrize("name", ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xff not a model", b"IQ== 0\nIg== 1\n"])
def test_what_is_no_sentencepiece_model_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} is no SentencePiece model"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("family", "name", "content"),
    [
        ("gpt2", "vocab.json", "[1, 2]"),
        ("gpt2", "vocab.json", '{"a": -1}'),
        ("gpt2", "vocab.json", '{"a": "0"}'),
        ("gpt2", "vocab.json", "{}"),
        ("gpt2", "vocab.json", "[" * 100_000),
        ("gpt2", "merges.txt", "one two three\n"),
        ("gpt2", "merges.txt", "no-such-token t\n"),
        ("gpt2", "merges.txt", b"\xff\xfe"),
        ("bert", "vocab.txt", "one\ntwo\n"),
        ("bert", "vocab.txt", ""),
        ("roberta", "vocab.json", '{"a": 0}'),
        ("qwen2", "tokenizer_config.json", '{"added_tokens_decoder": {"x": 1}}'),
        ("t5", "tokenizer_config.json", '{"extra_ids": -3}'),
        ("t5", "tokenizer_config.json", '{"extra_ids": 1e9}'),
        ("bert", "tokenizer_config.json", '{"model_max_length": "long"}'),
        ("bert", "tokenizer_config.json", '{"tokenizer_class": "AlbertTokenizer"}'),
        ("marian", "vocab.json", '{"a": 0}'),
        ("marian", "target.spm", "no model"),
        ("m2m_100", "vocab.json", '{"<unk>": 99999999999}'),
        ("bert", "sentence_bert_config.json", '{"max_seq_length": -5}'),
        ("bert", "config.json", "{"),
    ],
)
def test_damaged_files_are_refused_by_name_in_one_line(family, name, content, tmp_path):
    vocabularies.write(family, tmp_path)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value) or name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_where_a_file_belongs_is_refused(tmp_path):
    (tmp_path / "vocab.txt").mkdir()
    with pytest.raises(CheckpointError, match=r"vocab\.txt must be a file"):
        Tokenizer.load(tmp_path)


def test_marian_without_its_second_model_is_refused(tmp_path):
    vocabularies.write("marian", tmp_path)
    (tmp_path / "target.spm").unlink()
    with pytest.raises(CheckpointError, match=r"has no target\.spm"):
        Tokenizer.load(tmp_path)


def test_marian_with_two_vocabularies_reads_by_one_and_writes_by_the_other(tmp_path):
    write(tmp_path, "marian", separate_vocabs=True)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text("utf-8"))
    last = len(vocabulary) - 1
    swapped = {token: last - i if 3 < i < last - 3 else i for token, i in vocabulary.items()}
    vocabularies.write_json(tmp_path / "target_vocab.json", swapped)
    loaded = Tokenizer.load(tmp_path)
    ids = loaded.encode_target("Der schnelle Fuchs")
    assert loaded.decode(ids) == "Der schnelle Fuchs"
    assert loaded.decode(loaded.encode("the fox")) != "the fox"


def test_chat_templates_come_from_their_files_before_the_config(tmp_path):
    write(tmp_path, "gpt2", chat_template="from the config")
    assert Tokenizer.load(tmp_path).chat_templates == {"default": "from the config"}
    write(tmp_path, "gpt2", chat_template=[{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}])
    assert Tokenizer.load(tmp_path).chat_templates == {"default": "a", "tool_use": "b"}
    (tmp_path / "chat_template.jinja").write_text("from its file", "utf-8")
    (tmp_path / "chat_templates").mkdir()
    (tmp_path / "chat_templates" / "rag.jinja").write_text("another", "utf-8")
    loaded = Tokenizer.load(tmp_path)
    assert loaded.chat_templates == {"default": "from its file", "rag": "another"}
    loaded.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").chat_templates == loaded.chat_templates


def test_a_chat_template_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="chat_template must be a text"):
        _ = Tokenizer.load(write(tmp_path, "gpt2", chat_template=[{"name": "x"}])).chat_templates
