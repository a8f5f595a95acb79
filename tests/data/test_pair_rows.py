"""Pairs of texts as one row: two segments that a model reads as if each stood alone."""

import json
from pathlib import Path

import numpy as np

from regard.config import parse_run
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.objective import Batching
from regard.data.prepare import prepare
from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec
from regard.nn.contrast import segment_vectors

PAIRS = [("one", "first text of all"), ("two", "second text"), ("one", "third"), ("four", "second text")] * 3


def test_a_row_of_two_texts_gives_the_vectors_of_each_alone_and_equal_texts_have_one_number(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": text, "positive": positive}) + "\n" for text, positive in PAIRS)
    (tmp_path / "pairs.jsonl").write_text(lines, "utf-8")
    corpus = [{"jsonl": str(tmp_path / "pairs.jsonl")}]
    data = {"train": corpus, "validation": corpus, "max_tokens": 3, "workers": 1}
    run = parse_run({"task": "embed", "data": data, "tokenizer": {"vocab_size": 302}, "training": {"steps": 1}})
    prepared = prepare(run, tmp_path / "data")
    shards, objective = prepared.split("train"), objective_of(run)
    assert sum(prepared.manifest["splits"]["train"]["changed"]["counts"].values()) > 0, "some texts are cut"
    tokenizer = prepared.tokenizer
    vocabulary = Vocabulary(tokenizer.vocab_size, tokenizer.pad_id, tokenizer.eos_id, tokenizer.bos_id)
    model = build_model(preset_spec("bert-tiny", vocabulary, "hidden", width=16, heads=2, ffn_width=16, depth=1))
    batches = objective.batches(shards, tokenizer, Batching(64, 0, True))
    seen = []
    for rows, batch in zip(batches.rows(), batches.epoch(), strict=True):
        seen += rows
        hidden = model(batch).last_hidden_state
        vectors = np.asarray(segment_vectors(hidden, batch["segment_ids"], 2))
        for place, row in enumerate(rows):
            for side in (0, 1):
                alone = np.asarray(model({"input_ids": shards.row(row)[side][None]}).last_hidden_state)[0].mean(0)
                np.testing.assert_allclose(vectors[place, side], alone / np.linalg.norm(alone), atol=2e-5)
        for side in (0, 1):
            texts = [bytes(np.asarray(shards.row(row)[side])) for row in rows]
            numbers = batch["labels"][:, side].tolist()
            assert [texts.index(text) for text in texts] == numbers
    assert sorted(seen) == list(range(len(PAIRS)))
