"""What stands beside a recogniser without a decoder: it comes back as it was, and damage is named."""

import json

import pytest

from regard.decoding.ngrams import NGrams
from regard.errors import CheckpointError, ConfigError
from regard.interop.word_search import DIRECTORY, WordSearch, read_word_search
from regard.tasks.transcribe_options import TranscribeOptions


def test_a_directory_without_one_has_none_and_what_was_saved_comes_back(tmp_path):
    assert read_word_search(tmp_path) is None
    ngrams = NGrams.of_texts([["the", "cat"], ["a", "cat"]] * 2, 2)
    WordSearch(ngrams, num_beams=7, alpha=0.25, beta=-1.5).save(tmp_path)
    found = read_word_search(tmp_path)
    assert (found.num_beams, found.alpha, found.beta) == (7, 0.25, -1.5)
    assert found.ngrams.score(("the",), "cat") == pytest.approx(ngrams.score(("the",), "cat"), abs=1e-5)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("attrs.json", "{", r"attrs\.json"),
        ("attrs.json", json.dumps({"alpha": "much"}), r"attrs\.json: alpha must be a number, but is 'much'"),
        ("words.arpa", "", r"words\.arpa: no ARPA file of a language model"),
        ("words.arpa", "\\1-grams:\nx\ty\tz\n", r"words\.arpa: line 2 is no 1-gram"),
        ("words.arpa", None, r"cannot read .*words\.arpa"),
    ],
)
def test_damage_is_named(tmp_path, file, content, told):
    WordSearch(NGrams.of_texts([["a"]] * 2, 2), 4, 0.5, 1.0).save(tmp_path)
    path = tmp_path / DIRECTORY / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(CheckpointError, match=told):
        read_word_search(tmp_path)


@pytest.mark.parametrize("settings", [{"alpha": -0.1}, {"alpha": float("inf")}, {"beta": float("nan")}])
def test_weights_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} must be a number"):
        TranscribeOptions.of(settings)
