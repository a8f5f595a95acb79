"""Corpora mixed at a temperature: exact shares, every row in its turn, the same wherever training goes on."""

import base64
import io
import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from regard.config import parse_run
from regard.data.batching import BucketedBatches, Position
from regard.data.mixture import Mixture, quotas
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.objective import Batching
from regard.data.prepare import prepare

counts_of_corpora = st.lists(st.integers(1, 400), min_size=2, max_size=5)


@given(counts=counts_of_corpora, temperature=st.floats(1, 100))
def test_shares_are_in_proportion_to_the_root_of_the_counts_and_rounded_by_less_than_a_row(counts, temperature):
    roots = np.array(counts, np.float64) ** (1 / temperature)
    found = quotas(counts, temperature)
    assert sum(found) == sum(counts)
    assert (np.abs(np.array(found) - sum(counts) * roots / roots.sum()) < 1).all()


def test_temperature_one_leaves_the_counts_and_a_very_high_one_makes_them_equal():
    assert quotas([900, 90, 10], 1) == [900, 90, 10]
    assert quotas([900, 90, 10], 1e9) == [334, 333, 333]
    assert quotas([800, 200], 2) == [667, 333]  # the roots are as 2 to 1


@given(counts=counts_of_corpora, temperature=st.floats(1, 20), seed=st.integers(0, 9))
def test_each_epoch_has_its_quotas_and_no_row_of_a_corpus_comes_twice_more_than_another(counts, temperature, seed):
    mixture, seen = Mixture(counts, temperature, seed), Counter()
    bounds = np.cumsum([0, *counts])
    for epoch in range(3):
        rows = mixture.rows(epoch)
        assert (np.diff(rows) >= 0).all()
        assert np.diff(np.searchsorted(rows, bounds)).tolist() == mixture.quotas
        seen.update(rows.tolist())
        for low, high in pairwise(bounds):
            times = [seen[row] for row in range(low, high)]
            assert max(times) - min(times) <= 1


@given(epoch=st.integers(0, 7), seed=st.integers(0, 9))
def test_an_epoch_is_the_same_whether_or_not_those_before_it_were_asked_for(epoch, seed):
    counts = [50, 7, 3]
    asked = Mixture(counts, 3.0, seed)
    for earlier in range(epoch):
        asked.rows(earlier)
    np.testing.assert_array_equal(asked.rows(epoch), Mixture(counts, 3.0, seed).rows(epoch))


def test_what_an_epoch_is_made_of_is_said_in_numbers():
    text = Mixture([800, 200], 2.0, 0).describe(["a.tsv", "b.tsv"])
    assert "a.tsv: 667 of an epoch's 1,000 rows (66.7%), each 0.83 times" in text
    assert "b.tsv: 333 of an epoch's 1,000 rows (33.3%), each 1.67 times" in text


def mixed(curriculum=None):
    lengths = np.random.default_rng(0).integers(1, 30, (60, 1)).astype(np.int32)
    how = Batching(64, 3, shuffle=True, temperature=4.0, corpora=(50, 10), curriculum=curriculum)
    made = how.bucketed(lengths, lambda planned, epoch: {"rows": planned.rows}, 32)
    assert isinstance(made, BucketedBatches)
    return made


def test_batches_hold_the_quotas_of_each_epoch_and_go_on_from_any_place():
    stream = mixed().iterate()
    read = [next(stream) for _ in range(2 * mixed().epoch_length())]
    first = np.concatenate([batch["rows"] for batch, after in read if after <= Position(1, 0)])
    assert np.bincount(first >= 50).tolist() == mixed().mixture.quotas
    assert mixed().padding_share() < 0.5
    for place in (3, mixed().epoch_length() + 2):
        going_on = mixed().iterate(read[place - 1][1])
        np.testing.assert_array_equal(next(going_on)[0]["rows"], read[place][0]["rows"])


@pytest.mark.parametrize(("of", "counts"), [(None, [2, 4]), ([0, 0, 0, 1, 2, 3, 5, 5], [4, 4])])
def test_windows_belong_to_the_corpus_of_their_document(of, counts):
    how = Batching(64, 0, shuffle=True, temperature=2.0, corpora=(2, 4))
    rows = np.arange(6) if of is None else np.array(of)
    assert how.mixture(rows).counts == counts


def rows_of_an_epoch(task, listings, tmp_path, **data):
    """How often an epoch has each row of two corpora, of 20 and of 4 rows."""
    for name, lines in listings.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    corpora = [{"jsonl": str(tmp_path / f"{name}.jsonl")} for name in listings]
    values = {"train": corpora, "validation": corpora[:1], "workers": 1, "temperature": 4.0, **data}
    tokenizer = {} if task == "classify-image" else {"tokenizer": {"vocab_size": 302}}
    run = parse_run({"task": task, "data": values, "training": {"steps": 1}, **tokenizer})
    prepared = prepare(run, tmp_path / "data")
    counts = tuple(prepared.manifest["splits"]["train"]["corpora"])
    how = Batching(64, 0, True, batch_rows=3, temperature=run.data.temperature, corpora=counts)
    batches = objective_of(run).of(prepared).batches(prepared.split("train"), prepared.tokenizer, how)
    made = [len(batch["labels"]) for batch in batches.epoch()]
    rows = [row for planned in batches.rows() for row in planned]
    assert sum(made) == len(rows) == 24
    return [sum(row < 20 for row in rows), sum(row >= 20 for row in rows)], counts


def picture(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def recording(seed):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(seed).normal(0, 0.1, 4000), 16000, format="WAV")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("task", ["classify-image", "caption", "transcribe", "embed"])
def test_images_recordings_and_pairs_are_mixed_as_texts_are(task, tmp_path):
    def line(n):
        return {
            "classify-image": {"image": picture(n), "label": "ab"[n % 2]},
            "caption": {"image": picture(n), "caption": f"number {n}"},
            "transcribe": {"audio": recording(n), "text": f"number {n}"},
            "embed": {"text": f"number {n}", "positive": f"the number {n}"},
        }[task]

    senses = {"classify-image": {"image_size": 8}, "caption": {"image_size": 8}, "transcribe": {"audio_seconds": 1}}
    listings = {"large": [line(n) for n in range(20)], "small": [line(n) for n in range(20, 24)]}
    found, counts = rows_of_an_epoch(task, listings, tmp_path, **senses.get(task, {}))
    assert counts == (20, 4)
    assert found == quotas(counts, 4.0)
    assert found[1] > 8
