"""A draft model changes how often the large network runs, and nothing else."""

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

pytest.importorskip("openvino")
from regard.cli import main
from regard.decoding.draft import Draft
from regard.decoding.lookahead import Ahead
from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError
from regard.export.openvino_model import load_openvino
from regard.export.openvino_step import DraftReader
from regard.interop.checkpoints import load_model

sys.path.append(str(Path(__file__).parents[1] / "tasks"))

sys.path.append(str(Path(__file__).parent))

import tiny_writers
from looking_ahead import CASES, WAYS, engine

NAMES = ("llama-language-model", "gpt2-language-model", "marian-seq2seq", "t5-seq2seq")
NOISE = {"equal": 0.0, "noisy": 0.2, "unrelated": 30.0}  # what is added to weights, in their own spread


@pytest.fixture(scope="module")
def draft(tmp_path_factory):
    """`draft(name, kind)`: the case's model, with noise in its weights."""

    @cache
    def made(name, kind):
        place = tmp_path_factory.mktemp("draft") / name
        shutil.copytree(CASES / name, place)
        random = np.random.default_rng(1)
        tensors = load_file(place / "model.safetensors")
        for key, value in tensors.items():
            tensors[key] = (value + NOISE[kind] * value.std() * random.normal(size=value.shape)).astype(value.dtype)
        save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
        return load_openvino(place)

    return made


def runs_of(model, monkeypatch):
    """What each run of the decoder reads from now on."""
    feeds, request = [], model._decoder

    class Counted:
        def __getattr__(self, name):
            return getattr(request, name)

        def run(self, feed):
            feeds.append(feed)
            request.run(feed)

    monkeypatch.setattr(model, "_decoder", Counted())
    return feeds


def batch_of(texts):
    length = max(map(len, texts))
    ids = np.array([[*text, *[0] * (length - len(text))] for text in texts])
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(int)}


TEXTS = st.lists(st.lists(st.integers(4, 30), min_size=1, max_size=6), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6)
@given(
    texts=TEXTS, way=st.sampled_from(sorted(WAYS)), most=st.sampled_from([1, 3, 20]), least=st.sampled_from([0, 0.4])
)
def test_the_same_is_written_whatever_the_draft(draft, name, kind, texts, way, most, least):
    options = {"eos_token_id": (), "max_new_tokens": 12, **WAYS[way]}
    if "seed" in options:
        options["seed"] = options["seed"][: len(texts)]
    model, batch = engine(name), batch_of(texts)
    plain = model.generate(batch, **options)
    how = {"num_assistant_tokens": most, "assistant_confidence_threshold": least}
    found = model.generate(batch, assistant_model=draft(name, kind), **how, **options)
    np.testing.assert_array_equal(found.sequences, plain.sequences)
    np.testing.assert_array_equal(found.lengths, plain.lengths)
    if plain.scores is not None:
        np.testing.assert_allclose(found.scores, plain.scores, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_equal_draft_is_always_right(draft, name, monkeypatch):
    model, batch, count = engine(name), batch_of([[9, 4, 7, 5]]), runs_of(engine(name), monkeypatch)
    how = {"num_assistant_tokens": 4, "assistant_confidence_threshold": 0, "max_new_tokens": 18}
    how |= {"eos_token_id": (), "forced_eos_token_id": ()}
    plain = model.generate(batch, **how)
    count.clear()
    *_, last = model.generate_stream(batch, assistant_model=draft(name, "equal"), **how)
    np.testing.assert_array_equal(last.sequences, plain.sequences)
    assert len(count) == 6, "the first two and the last tokens alone, three times five"
    unrelated = draft(name, "unrelated")
    count.clear()
    model.generate(batch, assistant_model=unrelated, **how)
    assert len(count) > 6


@pytest.mark.parametrize("name", NAMES[:2])
@settings(max_examples=8)
@given(data=st.data())
def test_a_draft_that_was_wrong_goes_on_as_if_it_had_not_been(draft, name, data):
    helper = draft(name, "equal")
    options = GenerationOptions(assistant_confidence_threshold=0)

    def fresh(rows):
        helper._decoder.forget()
        return Draft(DraftReader(helper._decoder, {}, helper.spec), helper.spec, rows, options)

    texts = [data.draw(st.lists(st.integers(4, 30), min_size=1, max_size=4)) for _ in range(3)]
    rows = [0, 1, 2]
    turns, used = [], fresh(3)
    for _ in range(4):
        wanted = [data.draw(st.integers(0, 3)) for _ in rows]
        state = [Ahead(row, list(texts[row]), [], [], []) for row in rows]
        guesses = used(state, wanted)
        turns.append(([list(texts[row]) for row in rows], wanted, guesses))
        for row, guess in zip(rows, guesses, strict=True):  # some of it is taken, and then something else comes
            texts[row] += [*guess[: data.draw(st.integers(0, 3))], data.draw(st.integers(4, 30))]
        rows = sorted(data.draw(st.sets(st.sampled_from(rows), min_size=1)))
    for given_texts, wanted, guesses in turns:
        for text, most, guess in zip(given_texts, wanted, guesses, strict=True):
            assert fresh(1)([Ahead(0, text, [], [], [])], [most]) == [guess]
            assert len(guess) == most


def test_a_draft_that_has_helped_goes_on_as_an_engine_of_its_own(draft):
    helper, batch = draft("gpt2-language-model", "noisy"), batch_of([[5, 9, 11, 4] * 5])
    alone = helper.generate(batch, max_new_tokens=6)
    engine("gpt2-language-model").generate(batch_of([[7, 8, 9]]), max_new_tokens=6, assistant_model=helper)
    np.testing.assert_array_equal(helper.generate(batch, max_new_tokens=6).sequences, alone.sequences)


def test_a_draft_stops_where_its_own_positions_end(tmp_path, monkeypatch):
    short = tmp_path / "short"
    shutil.copytree(CASES / "gpt2-language-model", short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "n_positions": 8}))
    tensors = load_file(short / "model.safetensors")
    for key, value in tensors.items():
        if key.endswith("wpe.weight"):
            tensors[key] = value[:8]
    save_file(tensors, short / "model.safetensors", metadata={"format": "pt"})
    model, batch = engine("gpt2-language-model"), batch_of([[9, 4, 7, 5]])
    how, helper = {"eos_token_id": (), "max_new_tokens": 12}, load_openvino(short)
    feeds = runs_of(helper, monkeypatch)
    found = model.generate(batch, assistant_model=helper, assistant_confidence_threshold=0, **how)
    assert max(feed["position_ids"].max() for feed in feeds) < 8
    np.testing.assert_array_equal(found.sequences, model.generate(batch, **how).sequences)


def test_what_cannot_help_is_refused(draft, tmp_path):
    model, batch = engine("gpt2-language-model"), batch_of([[9, 4]])
    helper = draft("gpt2-language-model", "equal")
    with pytest.raises(ConfigError, match="assistant_model is for one hypothesis a text: num_beams and"):
        model.generate(batch, num_beams=2, assistant_model=helper)
    with pytest.raises(ConfigError, match="assistant_model and prompt_lookup_num_tokens both guess: give one of them"):
        model.generate(batch, prompt_lookup_num_tokens=3, assistant_model=helper)
    with pytest.raises(ConfigError, match="assistant_model must be another engine"):
        model.generate(batch, assistant_model=model)
    with pytest.raises(ConfigError, match="assistant_model must be of the model's form and source"):
        model.generate(batch, assistant_model=engine("marian-seq2seq"))
    wide = tmp_path / "wide"
    shutil.copytree(CASES / "gpt2-language-model", wide)
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 1}))
    tensors = load_file(wide / "model.safetensors")
    for key, value in tensors.items():
        if value.ndim and value.shape[0] == config["vocab_size"]:
            tensors[key] = np.concatenate([value, value[:1]])
    save_file(tensors, wide / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"assistant_model must have the model's vocabulary \(\d+\), but has \d+"):
        model.generate(batch, assistant_model=load_openvino(wide))
    with pytest.raises(ConfigError, match="num_assistant_tokens must be at most 64, but is 65"):
        GenerationOptions(num_assistant_tokens=65)


def test_the_verbs_take_an_assistant(tmp_path, capsys):
    made, other = (str(tiny_writers.write(kind, tmp_path / kind)) for kind in ("nllb", "mbart"))
    arguments = ["a b c", "--source-lang", "eng_Latn", "--target-lang", "deu_Latn", "--max-new-tokens", "5"]
    asked = ["translate", made, *arguments, "--engine", "openvino", "--num-beams", "1"]
    assert main(asked) == 0
    plain = capsys.readouterr().out
    assert main([*asked, "--assistant", made, "--num-assistant-tokens", "2"]) == 0
    assert capsys.readouterr().out == plain
    assert main([*asked, "--assistant", other]) == 2
    assert "vocabulary" in capsys.readouterr().err
    asked[asked.index("openvino")] = "tensorflow"
    assert main([*asked, "--assistant", made, "--num-assistant-tokens", "2"]) == 0
    assert capsys.readouterr().out == plain


def test_an_engine_may_guess_for_the_other(draft):
    batch, name = batch_of([[9, 4, 7, 5]]), "gpt2-language-model"
    how = {"eos_token_id": (), "max_new_tokens": 12, "assistant_confidence_threshold": 0}
    ours, theirs = engine(name), load_model(CASES / name)
    expected = ours.generate(batch, eos_token_id=(), max_new_tokens=12).sequences
    for model, helper in ((theirs, draft(name, "noisy")), (ours, theirs)):
        np.testing.assert_array_equal(model.generate(batch, assistant_model=helper, **how).sequences, expected)
