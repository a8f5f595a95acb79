"""What the cache holds of a prompt is not read again, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino")
from regard.errors import InputError
from regard.export.openvino_model import load_openvino

CASES = Path(__file__).parents[1] / "parity" / "cases"
OPTIONS = {"eos_token_id": (), "max_new_tokens": 6, "return_scores": True}


@pytest.fixture(scope="module")
def tokens_read():
    """`tokens_read(model)`: of each run of the decoder from now on, (rows, tokens)."""

    def watch(model):
        shapes, request = [], model._decoder

        class Watched:
            def __getattr__(self, name):
                return getattr(request, name)

            def run(self, feed):
                shapes.append(feed["input_ids"].shape)
                request.run(feed)

        model._decoder = Watched()
        model._prefix.request = model._decoder
        return shapes

    return watch


def batch_of(*texts):
    length = max(map(len, texts))
    ids, mask = np.zeros((len(texts), length), int), np.zeros((len(texts), length), int)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return {"input_ids": ids, "attention_mask": mask}


def equal(found, expected):
    np.testing.assert_array_equal(found.sequences, expected.sequences)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_a_conversation_reads_only_what_is_new(tokens_read):
    def anew():
        return load_openvino(CASES / "llama-language-model-rope-linear")

    model = anew()
    shapes, text = tokens_read(model), np.random.default_rng(0).integers(5, 30, 20).tolist()
    first = model.generate(batch_of(text), **OPTIONS)
    told = [*text, *first.sequences[0, 0].tolist(), 7, 8]
    shapes.clear()
    second = model.generate(batch_of(told), **OPTIONS)
    equal(second, anew().generate(batch_of(told), **OPTIONS))
    assert shapes[0] == (1, len(told) - (len(text) + 5))  # the last token that was written had not been read
    other = [*told[: len(text) - 1], 9, 11]  # the conversation takes another turn
    shapes.clear()
    for options in ({}, {"num_beams": 3}, {"prompt_lookup_num_tokens": 3}):
        found = model.generate(batch_of(other), **OPTIONS, **options)
        equal(found, anew().generate(batch_of(other), **OPTIONS, **options))
    assert shapes[0] == (1, 2)
    *_, last = model.generate_stream(batch_of(told), **OPTIONS)
    equal(last, second)


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True, "seed": (1, 2, 3)}], ids=str)
def test_what_the_rows_of_a_batch_begin_with_is_read_once(options, tokens_read):
    model, anew = load_openvino(CASES / "gpt2-language-model"), load_openvino(CASES / "gpt2-language-model")
    shapes, shared = tokens_read(model), [5, 9, 11, 4] * 4
    texts = [[*shared, 3], [*shared, 8, 8, 4], [*shared, 6, 7]]
    for rows in (texts, texts[::-1], texts[:2]):
        shapes.clear()
        own = {**options, "seed": options["seed"][: len(rows)]} if "seed" in options else options
        found = model.generate(batch_of(*rows), **OPTIONS, **own)
        for row, text in enumerate(rows):
            own = {**options, "seed": (row + 1,)} if "seed" in options else options
            short = anew.generate(batch_of([3]), max_new_tokens=1)  # so that nothing of the prompt is in its cache
            assert short.lengths.item() == 1
            alone = anew.generate(batch_of(text), **OPTIONS, **own)
            np.testing.assert_array_equal(found.sequences[row], alone.sequences[0])
        first = shapes[0]
        assert first == ((1, 16) if rows is texts else (len(rows), 3)), "once, and for the next batch not at all"


def test_a_call_that_fails_leaves_nothing_to_go_on_from():
    model = load_openvino(CASES / "gpt2-language-model")
    text = [5, 9, 11, 4] * 5

    def fail(scores, generated, step, ops):
        raise RuntimeError("stop")

    model.generate(batch_of(text), **OPTIONS)
    with pytest.raises(RuntimeError, match="stop"):
        model.generate(batch_of(text), rule=fail, **OPTIONS)
    anew = load_openvino(CASES / "gpt2-language-model")
    equal(model.generate(batch_of(text), **OPTIONS), anew.generate(batch_of(text), **OPTIONS))


def test_a_stream_that_is_interrupted_leaves_nothing_to_go_on_from(monkeypatch):
    model, text = load_openvino(CASES / "gpt2-language-model"), [5, 9, 11, 4] * 5
    whole = model._decoder.run

    def interrupted(feed):
        whole(feed)
        raise KeyboardInterrupt

    stream = model.generate_stream(batch_of(text), **OPTIONS)
    next(stream)
    monkeypatch.setattr(model._decoder, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    monkeypatch.undo()
    anew = load_openvino(CASES / "gpt2-language-model")
    equal(model.generate(batch_of(text), **OPTIONS), anew.generate(batch_of(text), **OPTIONS))


@pytest.mark.parametrize("name", ["gpt2-language-model", "marian-seq2seq"])
def test_a_stream_is_not_gone_on_with_in_the_cache_of_another_call(name):
    model, one, other = load_openvino(CASES / name), batch_of([5, 9, 11, 4] * 5), batch_of([7, 6, 12, 8] * 5)
    expected = model.generate(other, **OPTIONS)
    left, last = model.generate_stream(one, **OPTIONS), model.generate_stream(other, **OPTIONS)
    next(left)
    next(last)
    with pytest.raises(InputError, match="a stream was left for another call, which has the cache now"):
        next(left)
    equal(list(last)[-1], expected)
    finished = model.generate_stream(one, every=100, **OPTIONS)
    next(finished)
    model.generate(other, **OPTIONS)
    assert list(finished) == []
