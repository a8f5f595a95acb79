"""A lexical shortlist on OpenVINO: fewer tokens are scored, and of these nothing else changes."""

import sys
from pathlib import Path

import numpy as np
import pytest

from regard.cli import main
from regard.decoding.lexical_shortlist import LexicalShortlist
from regard.errors import CheckpointError, ConfigError
from regard.export.openvino_model import export_openvino, load_openvino
from regard.export.openvino_shortlist import Offered
from regard.features.tokenizer import Tokenizer
from regard.interop.shortlist_file import FILE, read_shortlist, write_shortlist
from regard.tasks.loading import load

sys.path.append(str(Path(__file__).parents[1] / "tasks"))

import tiny_writers

CASES = Path(__file__).parents[1] / "parity" / "cases"
IDS = np.array([[9, 4, 7, 5], [8, 6, 0, 0], [5, 5, 5, 0]])
BATCH = {"input_ids": IDS, "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])}
WAYS = {
    "greedy": {"min_new_tokens": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 3, "bad_words_ids": [[5]]},
    "sampling": {"do_sample": True, "seed": 4, "num_return_sequences": 2, "top_k": 0},
    "rules": {"num_beams": 2, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "forced_bos_token_id": 6},
    "guesses": {"prompt_lookup_num_tokens": 3},
}


def table(vocab_size, frequent, likeliest=()):
    """Of source tokens nothing but `likeliest`, {source: targets}, is known."""
    best = np.full((vocab_size, 4), -1, np.int32)
    for source, targets in dict(likeliest).items():
        best[source, : len(targets)] = targets
    return LexicalShortlist(np.array(frequent, np.int32), best)


def assert_equal(one, other):
    np.testing.assert_array_equal(one.sequences, other.sequences)
    np.testing.assert_array_equal(one.lengths, other.lengths)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
    np.testing.assert_allclose(one.token_scores, other.token_scores, atol=1e-5)


@pytest.mark.parametrize("name", ["marian-seq2seq", "t5-seq2seq", "bart-seq2seq"])
def test_a_shortlist_of_the_whole_vocabulary_changes_nothing(name):
    model = load_openvino(CASES / name)
    size = model.spec.text.vocab_size
    short = load_openvino(CASES / name, shortlist=table(size, range(size)))
    for way in WAYS.values():
        asked = {"max_new_tokens": 6, "return_scores": True, **way}
        assert_equal(short.generate(BATCH, **asked), model.generate(BATCH, **asked))


@pytest.fixture(scope="module")
def marian():
    return load_openvino(CASES / "marian-seq2seq")


def test_a_shortlist_that_holds_what_greedy_search_writes_gives_the_same(marian):
    asked = {"max_new_tokens": 8}
    whole, size = marian.generate(BATCH, **asked), marian.spec.text.vocab_size
    written = [set(row[0, :length].tolist()) for row, (length,) in zip(whole.sequences, whole.lengths, strict=True)]
    for seed in range(4):
        more = np.random.default_rng(seed).choice(size, 5, replace=False)
        short = table(size, [*set.union(*written), *more.tolist()])
        found = load_openvino(CASES / "marian-seq2seq", shortlist=short).generate(BATCH, **asked)
        np.testing.assert_array_equal(found.sequences, whole.sequences)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_else_is_written_and_a_row_keeps_to_its_own_whatever_stands_beside_it(marian, way):
    size, eos = marian.spec.text.vocab_size, marian.generation_options.eos_ids
    likeliest = {9: [11, 12, 13, 14], 8: [15, 16, 17], 5: [18, 19]}
    short = load_openvino(CASES / "marian-seq2seq", shortlist=table(size, [20, 21], likeliest))
    asked = {"max_new_tokens": 7, "return_scores": True, **WAYS[way]}
    many = {"seed": (4, 5, 6)} if way == "sampling" else {}
    together = short.generate(BATCH, **{**asked, **many})
    forced = {asked.get("forced_bos_token_id")}
    for row in range(3):
        own = {20, 21, *eos, *(token for source in IDS[row] for token in likeliest.get(int(source), []))}
        for ids, length in zip(together.sequences[row], together.lengths[row], strict=True):
            assert set(ids[:length].tolist()) <= own | forced
        alone = {key: value[row : row + 1] for key, value in BATCH.items()}
        found = short.generate(alone, **{**asked, **({"seed": 4 + row} if many else {})})
        np.testing.assert_array_equal(found.sequences[0], together.sequences[row])
        np.testing.assert_allclose(found.scores[0], together.scores[row], atol=1e-5)


def test_more_beams_than_tokens_are_offered_find_what_there_is(marian):
    size, eos = marian.spec.text.vocab_size, marian.generation_options.eos_ids
    short = load_openvino(CASES / "marian-seq2seq", shortlist=table(size, [20]))
    found = short.generate(BATCH, num_beams=6, num_return_sequences=6, max_new_tokens=2)
    sequences = {tuple(ids[:length].tolist()) for ids, length in zip(found.sequences[0], found.lengths[0], strict=True)}
    assert sequences == {(*eos,), (20, *eos), ()}  # the checkpoint ends a text at its last token


def test_what_is_offered_is_found_again_among_all():
    offered = Offered(np.int32([2, 5, 9, 9]), 3, np.zeros((4, 1)))
    np.testing.assert_array_equal(offered.ids(np.array([[2, 0]])), [[9, 2]])
    np.testing.assert_array_equal(offered.places([5, 4]), [1])
    whole = offered.of_all(np.float32([[1, 2, 3, -np.inf]]), 11)
    assert np.flatnonzero(np.isfinite(whole[0])).tolist() == [2, 5, 9]
    assert whole[0, [2, 5, 9]].tolist() == [1, 2, 3]


@pytest.fixture
def nllb(tmp_path):
    """A tiny translator, and a shortlist of all but one token of its vocabulary, which it likes to write."""
    made = tiny_writers.write("nllb", tmp_path / "nllb")
    tokenizer = Tokenizer.load(made)
    asked = {"source_lang": "eng_Latn", "target_lang": "deu_Latn", "max_new_tokens": 6}
    likes = load(made, task="translate", engine="openvino")("a b c", **asked).token_ids[1]
    kept = [token for token in range(tokenizer.vocab_size) if token != likes]
    write_shortlist(tmp_path / "short", table(tokenizer.vocab_size, kept), tokenizer)
    return made, tmp_path / "short", likes, asked


def test_a_translator_reads_a_shortlist_and_an_exported_one_brings_its_own(nllb, tmp_path):
    made, file, likes, asked = nllb
    texts = ["a b c", "b"]
    short = load(made, task="translate", engine="openvino", shortlist=file)(texts, **asked)
    assert likes not in short[0].token_ids
    export_openvino(made, tmp_path / "out", shortlist=file)
    assert [found.text for found in load(tmp_path / "out", task="translate")(texts, **asked)] == [
        found.text for found in short
    ]
    export_openvino(made, tmp_path / "without")
    with pytest.raises(
        ConfigError, match=r"was exported without a shortlist: export the model again, with --shortlist"
    ):
        load_openvino(tmp_path / "without", shortlist=file)


def test_the_verbs_take_a_shortlist(nllb, tmp_path, capsys):
    made, file, _, asked = nllb
    arguments = ["a b c", "--source-lang", "eng_Latn", "--target-lang", "deu_Latn", "--max-new-tokens", "6"]
    expected = load(made, task="translate", engine="openvino", shortlist=file)("a b c", **asked).text
    assert main(["translate", str(made), *arguments, "--engine", "openvino", "--shortlist", str(file)]) == 0
    assert capsys.readouterr().out == expected + "\n"
    assert main(["export", str(made), str(tmp_path / "out"), "--shortlist", str(file)]) == 0
    assert main(["translate", str(tmp_path / "out"), *arguments]) == 0
    assert capsys.readouterr().out == expected + "\n"
    assert main(["translate", str(made), *arguments, "--shortlist", str(file)]) == 2
    assert "shortlist is for engine='openvino' (--engine openvino)" in capsys.readouterr().err


def test_what_is_no_shortlist_of_the_model_is_refused(nllb, tmp_path):
    made, file, _, _ = nllb
    tokenizer = Tokenizer.load(made)
    again = read_shortlist(file, tokenizer)
    assert again.vocab_size == tokenizer.vocab_size
    other = Tokenizer.load(tiny_writers.write("t5", tmp_path / "t5"))
    with pytest.raises(ConfigError, match="is of another vocabulary than the model's: make one for this model"):
        read_shortlist(file, other)
    with pytest.raises(CheckpointError, match=r"cannot read the shortlist .*nowhere: .*No such file"):
        read_shortlist(tmp_path / "nowhere", tokenizer)
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match="cannot read the shortlist"):
        read_shortlist(cut, tokenizer)
    with pytest.raises(CheckpointError, match="is no lexical shortlist: `regard shortlist` writes one"):
        read_shortlist(made / "model.safetensors", tokenizer)
    with pytest.raises(ConfigError, match="a shortlist is for a model that writes a text for a text"):
        load_openvino(CASES / "llama-language-model", shortlist=again)
    export_openvino(made, tmp_path / "out", shortlist=file)
    (tmp_path / "out" / FILE).unlink()
    with pytest.raises(CheckpointError, match="cannot read the shortlist"):
        load_openvino(tmp_path / "out")


def test_an_assistant_scores_its_whole_vocabulary(marian):
    size = marian.spec.text.vocab_size
    short = load_openvino(CASES / "marian-seq2seq", shortlist=table(size, [20]))
    with pytest.raises(ConfigError, match="assistant_model must score its whole vocabulary"):
        marian.generate(BATCH, assistant_model=short)
    asked = {"max_new_tokens": 6}
    np.testing.assert_array_equal(
        short.generate(BATCH, assistant_model=marian, **asked).sequences, short.generate(BATCH, **asked).sequences
    )


def test_a_shortlist_that_cannot_be_written_leaves_nothing(nllb, tmp_path):
    made, file, _, _ = nllb
    tokenizer = Tokenizer.load(made)
    (tmp_path / "directory").mkdir()
    with pytest.raises(CheckpointError, match="cannot write"):
        write_shortlist(tmp_path / "directory", read_shortlist(file, tokenizer), tokenizer)
    assert not list(tmp_path.glob("*.tmp"))
