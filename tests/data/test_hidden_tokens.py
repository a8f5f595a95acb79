"""Masked tokens and corrupted spans: the papers' counts, and only (seed, epoch, example) decides what is hidden."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.config import TokenizerConfig, parse_run
from regard.data.batching import Position
from regard.data.noise import noise, shares
from regard.data.objectives.corruption import SpanCorruption, random_spans, sentinels
from regard.data.objectives.masked import MaskedLanguageModel, Masker, frame
from regard.data.objectives.objective import Batching, Reports
from regard.data.objectives.whole_words import Words
from regard.data.prepare import prepare
from regard.data.records import TextRecord
from regard.data.sources import DropReport, Located, Place
from regard.features.tokenizer_layouts import train_tokenizer

WORDS = ["cat", "house", "running", "blue", "of", "remarkable", "seven", "to"]
LINES = [" ".join(np.random.default_rng(n).choice(WORDS, 12)) for n in range(200)]


@pytest.fixture(scope="module")
def encoder():
    return train_tokenizer(LINES, TokenizerConfig(vocab_size=302), "encoder")


@pytest.fixture(scope="module")
def corrupter():
    return train_tokenizer(LINES, TokenizerConfig(vocab_size=400), "sentinels")


def texts_of(rows, length, tokenizer, seed=0):
    ordinary = [i for i in range(tokenizer.vocab_size) if tokenizer.is_visible(i)]
    return np.random.default_rng(seed).choice(ordinary, (rows, length)).astype(np.int32)


def test_noise_is_uniform_and_another_for_each_of_its_parts():
    values = shares(noise(1, 2, np.arange(200), 500))
    assert np.histogram(values, 10, (0, 1))[0] == pytest.approx(10_000, rel=0.05)
    others = [noise(*key, np.arange(2), 3, stream) for key, stream in (((1, 2), 1), ((1, 3), 0), ((2, 2), 0))]
    assert not any(np.isin(other, noise(1, 2, np.arange(2), 3)).any() for other in others)
    assert np.array_equal(noise(1, 2, np.array([7]), 3)[0], noise(1, 2, np.arange(9), 5)[7, :3])


def test_of_the_hidden_tokens_eight_in_ten_are_masked_and_one_is_another(encoder):
    ids = texts_of(400, 100, encoder)
    text = np.ones(ids.shape, bool)
    text[:, :10] = False
    shown, labels = Masker(encoder, 0.15, False, seed=0)(ids, text, np.arange(400), 0)
    hidden = labels >= 0
    assert (hidden.sum(1) == round(0.15 * 90)).all()
    assert not hidden[:, :10].any()
    assert np.array_equal(labels[hidden], ids[hidden])
    assert np.array_equal(shown[~hidden], ids[~hidden])
    masked = shown[hidden] == encoder.mask_id
    assert masked.mean() == pytest.approx(0.8, abs=0.02)
    kept = shown[hidden] == ids[hidden]
    assert kept.mean() == pytest.approx(0.1, abs=0.015)
    assert all(encoder.is_visible(int(i)) for i in shown[hidden][~masked])


def test_a_text_of_one_token_hides_it(encoder):
    ids = texts_of(3, 1, encoder)
    for whole_words in (False, True):
        masker = Masker(encoder, 0.15, whole_words, seed=0)
        assert np.array_equal(masker(ids, np.ones(ids.shape, bool), np.arange(3), 0)[1], ids)


def test_whole_words_are_hidden_whole_and_no_more_than_asked(encoder):
    unseen = np.random.default_rng(0).choice(["zebra", "quartz", "jazz", "pyjama", "my"], (40, 20))  # of many tokens
    rows = [encoder.encode_plain(" ".join(words)) for words in unseen]
    length = min(map(len, rows))
    ids = np.array([row[:length] for row in rows], np.int32)
    masker = Masker(encoder, 0.3, True, seed=1)
    _, labels = masker(ids, np.ones(ids.shape, bool), np.arange(40), 0)
    sizes = []
    for row, hidden in zip(ids, labels >= 0, strict=True):
        words = [hidden[places] for places in Words.of(encoder).split(row, np.arange(length))]
        assert all(word.all() or not word.any() for word in words)
        sizes.append(len(words))
        assert 0 < hidden.sum() <= round(0.3 * length)
    assert max(sizes) < length, "some word has more than one token"


def test_a_word_longer_than_what_is_wanted_is_passed_over_and_cut_where_all_are(encoder):
    long, short = encoder.encode_plain("pyjamapyjamapyjamapyjama"), encoder.encode_plain(" my my")
    wanted = max(1, round(0.15 * len(long + short)))
    masker = Masker(encoder, 0.15, True, seed=1)
    for text, places in ((long + short, range(len(long), len(long + short))), (long, range(len(long)))):
        ids = np.tile(np.array(text, np.int32), (50, 1))
        hidden = masker(ids, np.ones(ids.shape, bool), np.arange(50), 0)[1] >= 0
        assert (hidden.sum(1) > 0).all()
        assert (hidden.sum(1) <= wanted).all()
        assert set(np.flatnonzero(hidden.any(0))) <= set(places)


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_words_end_at_white_space_and_each_chinese_character_is_one(algorithm):
    lines = ["ab cd ab cd", "中文 中国", "ab\ncd\tab 文ab文"]
    tokenizer = train_tokenizer(lines * 20, TokenizerConfig(vocab_size=304, algorithm=algorithm), "encoder")
    words = Words.of(tokenizer)
    both = ["中文"] if algorithm == "bpe" else ["中", "文"]  # BPE has learned them as one token
    for text, wanted in {
        "ab cd": ["ab", "cd"],
        "中文中": [*both, "中"],
        "cd中文 ab": ["cd", *both, "ab"],
        "文ab": ["文", "ab"],
        "ab\ncd": ["ab", "cd"],
        "ab\tcd": ["ab", "cd"],
    }.items():
        ids = np.array(tokenizer.encode_plain(text), np.int32)
        found = [tokenizer.decode(ids[places].tolist()).strip() for places in words.split(ids, np.arange(len(ids)))]
        assert [word for word in found if word] == wanted, tokenizer.tokens(ids.tolist())


@given(st.integers(1, 40), st.integers(0, 99))
def test_random_spans_are_at_least_one_and_add_up(items, seed):
    for spans in range(1, items + 1):
        found = random_spans(items, spans, noise(seed, 0, np.array([0]), items)[0])
        assert (len(found), found.sum(), found.min() >= 1) == (spans, items, True)


def test_all_ways_to_cut_are_alike():
    found = Counter(tuple(random_spans(4, 2, row)) for row in noise(0, 0, np.arange(3000), 4))
    assert set(found) == {(1, 3), (2, 2), (3, 1)}
    assert min(found.values()) > 900


@given(length=st.integers(2, 300), seed=st.integers(0, 9))
@settings(deadline=None)
def test_a_corrupted_text_is_the_text_again_once_the_spans_are_put_back(corrupter, length, seed):
    objective, marks = SpanCorruption(512), sentinels(corrupter)
    ids = texts_of(1, length, corrupter, seed)[0]
    source, target = objective.corrupted(ids, noise(seed, 0, np.array([0]), 2 * length)[0], marks, corrupter.eos_id)
    assert [len(source), len(target)] == objective.sides([length])[0].tolist()
    assert source[-1] == target[-1] == corrupter.eos_id
    cuts = np.flatnonzero(np.isin(target, marks))
    assert target[cuts].tolist() == source[np.isin(source, marks)].tolist() == marks[: len(cuts)].tolist()
    spans = dict(zip(target[cuts].tolist(), np.split(target[:-1], cuts[1:]), strict=True))
    restored = [
        token for mark in source[:-1].tolist() for token in (spans[mark][1:].tolist() if mark in spans else [mark])
    ]
    assert restored == ids.tolist()


def test_the_counts_are_those_of_t5():
    # 512 tokens of source come of 568 of text, and 114 of target: the numbers of the paper's code
    assert SpanCorruption(512).window(100) == 568
    assert SpanCorruption(512).sides([568])[0].tolist() == [512, 114]
    assert SpanCorruption(512).noise_of(20) == (3, 1)


def test_the_first_sentinel_has_the_highest_id(corrupter):
    marks = sentinels(corrupter)
    assert marks.tolist() == list(range(corrupter.vocab_size - 1, corrupter.vocab_size - 101, -1))
    assert corrupter.encode("<extra_id_0>")[0] != marks[0], "who types a sentinel gets ordinary pieces"


@pytest.mark.parametrize("task", ["masked-language-model", "span-corruption"])
def test_batches_differ_by_epoch_and_go_on_from_any_position(task, tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(LINES[:60]), "utf-8")
    corpus = {"text": str(tmp_path / "train.txt"), "documents": "file"}
    data = {"train": [corpus], "validation": [corpus], "max_tokens": 64, "workers": 1}
    values = {"task": task, "data": data, "training": {"steps": 1}}
    run = parse_run({**values, "tokenizer": {"vocab_size": 400}})
    prepared = prepare(run, tmp_path / "data")
    objective = (MaskedLanguageModel if task.startswith("masked") else SpanCorruption)(64)
    how = Batching(200, seed=4, shuffle=True)

    def batches():
        return objective.batches(prepared.split("train"), prepared.tokenizer, how)

    length = batches().epoch_length()
    whole = list(islice(batches().iterate(), 2 * length))
    rest = list(islice(batches().iterate(Position(*whole[length - 3][1])), 4))
    for (batch, after), (again, after_again) in zip(whole[length - 2 :], rest, strict=False):
        assert after == after_again
        assert all(np.array_equal(batch[key], again[key]) for key in batch)

    def total(batches_of_epoch):
        return sorted(tuple(row[row >= 0].tolist()) for batch, _ in batches_of_epoch for row in batch["labels"])

    assert total(whole[:length]) != total(whole[length:])


def test_a_window_of_masked_text_stands_between_its_special_tokens(encoder, tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(LINES[:9]), "utf-8")
    corpus = {"text": str(tmp_path / "train.txt"), "documents": "line"}
    values = {"task": "masked-language-model", "training": {"steps": 1}, "tokenizer": {"vocab_size": 302}}
    run = parse_run({**values, "data": {"train": [corpus], "validation": [corpus], "max_tokens": 9, "workers": 1}})
    prepared = prepare(run, tmp_path / "data")
    assert frame(prepared.tokenizer) == ([prepared.tokenizer.cls_id], [prepared.tokenizer.sep_id])
    batches = MaskedLanguageModel(9).batches(prepared.split("train"), prepared.tokenizer, Batching(90, 0, shuffle=True))
    tokens = 0
    for batch in batches.epoch():
        last = batch["attention_mask"].sum(1) - 1
        assert (batch["input_ids"][:, 0] == prepared.tokenizer.cls_id).all()
        assert (batch["input_ids"][np.arange(len(last)), last] == prepared.tokenizer.sep_id).all()
        tokens += int((last - 1).sum())
    assert tokens == prepared.manifest["splits"]["train"]["text_tokens"]
    assert prepared.manifest["splits"]["train"]["changed"]["counts"] == {
        "longer than data.max_tokens = 9, read in windows": 9
    }


def test_a_text_too_short_to_hide_a_part_of_it_is_dropped_and_counted(corrupter):
    reports = Reports(DropReport(), DropReport())
    part = [Located(TextRecord(text), Place("f", 1)) for text in ("a", LINES[0])]
    assert len(list(SpanCorruption(64).encode(part, corrupter, reports))) == 1
    assert reports.dropped.total == 1
