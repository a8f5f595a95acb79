"""Language models: how surprised they are by each text, and masked ones by its hidden tokens."""

from collections.abc import Iterator, Sequence
from math import log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regard.batch import IGNORED_LABEL, Batch
from regard.data.batching import batches_by_length
from regard.data.objectives.masked import Masker, frame
from regard.data.packing import windows
from regard.data.records import TextRecord
from regard.errors import InputError
from regard.tasks.judging.judgement import Evaluation, HeldOut, Judgement, Settings
from regard.tasks.reading import most_tokens

BATCH_TOKENS = 1024  # each token has a logit for every token of the vocabulary


class Likelihood(NamedTuple):
    """Of one text: the sum of its tokens' losses in nats, how many tokens count, how many were guessed right."""

    nats: float
    tokens: int
    right: int


def _window(task: Any, held: HeldOut, settings: Settings) -> Settings:
    """As long as in training, if the model reads so much. Raises InputError for a model that is not of its kind."""
    if task.engine.spec.form == "encoder-decoder":
        raise InputError("an encoder-decoder writes texts for texts: it has no likelihood of a text alone")
    limit = most_tokens(task.engine.spec, task.tokenizer) or held.run.data.max_tokens
    return {"max_length": min(held.run.data.max_tokens, limit), "batch_tokens": BATCH_TOKENS, **settings}


def _masked_window(task: Any, held: HeldOut, settings: Settings) -> Settings:
    objective = held.run.objective
    hidden = {"rate": objective.rate, "whole_words": objective.whole_words, "seed": held.run.seed}
    return {**hidden, **_window(task, held, settings)}


def _read(task: Any, examples: Sequence[TextRecord], settings: Settings) -> Iterator[Likelihood]:
    """Each document between the tokens that begin and end one, as it is learnt from; a longer one in windows that share
    a token, so that each of its tokens but the first is predicted once."""
    tokenizer = task.tokenizer
    end = tokenizer.id_of("eos")
    begin = end if tokenizer.bos_id is None else tokenizer.bos_id
    documents = [np.array([begin, *tokenizer.encode_plain(record.text), end], np.int32) for record in examples]
    pieces = windows(np.array([len(ids) for ids in documents]), settings["max_length"], shared=1)
    ids = [documents[row][start : start + length] for row, start, length in zip(*pieces, strict=True)]
    found = np.zeros((len(documents), 3))
    for rows in batches_by_length(pieces.lengths.tolist(), settings["batch_tokens"]):
        batch = _padded([ids[row] for row in rows])
        logits = task.engine(batch).logits
        labels = np.full_like(batch["input_ids"], IGNORED_LABEL)
        labels[:, :-1] = np.where(batch["attention_mask"][:, 1:] > 0, batch["input_ids"][:, 1:], IGNORED_LABEL)
        np.add.at(found, pieces.rows[rows], _counted(logits, labels))
    return (Likelihood(float(nats), int(tokens), int(right)) for nats, tokens, right in found.tolist())


def _unmasked(task: Any, examples: Sequence[TextRecord], settings: Settings) -> Iterator[Likelihood]:
    """Which tokens are hidden hangs on the seed and the text's place alone: equal for models of one tokenizer."""
    before, after = frame(task.tokenizer)
    room = settings["max_length"] - len(before) - len(after)
    documents = [np.array(task.tokenizer.encode_plain(record.text), np.int32) for record in examples]
    empty = next((number for number, ids in enumerate(documents, 1) if not len(ids)), None)
    if empty is not None:
        raise InputError(f"text {empty} has no token that could be hidden: {examples[empty - 1].text[:40]!r}")
    pieces = windows(np.array([len(ids) for ids in documents]), room)
    masker = Masker(task.tokenizer, settings["rate"], settings["whole_words"], settings["seed"])
    found = np.zeros((len(documents), 3))
    lengths = (pieces.lengths + len(before) + len(after)).tolist()
    for rows in batches_by_length(lengths, settings["batch_tokens"]):
        chosen = pieces.at(rows)
        texts = [documents[row][start : start + size] for row, start, size in zip(*chosen, strict=True)]
        batch = _padded([np.array([*before, *text, *after], np.int32) for text in texts])
        place = np.arange(batch["input_ids"].shape[1])
        inside = (place >= len(before)) & (place < len(before) + chosen.lengths[:, None])
        shown, labels = masker(batch["input_ids"], inside, np.asarray(rows), 0)
        logits = task.engine({**batch, "input_ids": shown}).logits
        np.add.at(found, chosen.rows, _counted(logits, labels))
    return (Likelihood(float(nats), int(tokens), int(right)) for nats, tokens, right in found.tolist())


def _padded(rows: Sequence[NDArray[np.int32]]) -> Batch:
    shape = len(rows), max(map(len, rows))
    batch = {name: np.zeros(shape, np.int32) for name in ("input_ids", "attention_mask")}
    for place, ids in enumerate(rows):
        batch["input_ids"][place, : len(ids)] = ids
        batch["attention_mask"][place, : len(ids)] = 1
    return batch


def _counted(logits: Any, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """(B, S, V), (B, S) -> (B, 3): nats, labels that count, and those that have the highest logit."""
    values = np.asarray(logits, np.float32)
    real = labels != IGNORED_LABEL
    highest = values.max(-1)
    spread = np.log(np.exp(values - highest[..., None]).sum(-1, dtype=np.float64))
    chosen = np.take_along_axis(values, np.where(real, labels, 0)[..., None], axis=-1)[..., 0]
    nats = np.where(real, spread + highest - chosen, 0.0)
    right = real & (values.argmax(-1) == labels)
    return np.stack([nats.sum(1), real.sum(1), right.sum(1)], axis=1)


def _judged(examples: Sequence[TextRecord], predictions: Sequence[Likelihood], settings: Settings) -> list[Judgement]:
    return [_judgement(record, found) for record, found in zip(examples, predictions, strict=True)]


def _judgement(record: TextRecord, found: Likelihood) -> Judgement:
    size = len(record.text.encode("utf-8"))
    statistics: dict[str, list[float]] = {
        "bits_per_byte": [found.nats / log(2), size],
        "loss": [found.nats, found.tokens],
        "perplexity": [found.nats, found.tokens],
    }
    bits = found.nats / log(2) / size
    return Judgement({"text": record.text}, "", "", statistics, -bits, remark=f"{bits:.2f} bits per byte")


def _judged_masked(
    examples: Sequence[TextRecord], predictions: Sequence[Likelihood], settings: Settings
) -> list[Judgement]:
    return [_masked_judgement(record, found) for record, found in zip(examples, predictions, strict=True)]


def _masked_judgement(record: TextRecord, found: Likelihood) -> Judgement:
    statistics: dict[str, list[float]] = {
        "loss": [found.nats, found.tokens],
        "perplexity": [found.nats, found.tokens],
        "token_accuracy": [found.right, found.tokens],
    }
    remark = f"{found.right} of {found.tokens} hidden tokens found, {found.nats / found.tokens:.2f} nats each"
    return Judgement({"text": record.text}, "", "", statistics, -found.nats / found.tokens, remark=remark)


LANGUAGE = Evaluation("generate", _read, _judged, prepared=_window)
MASKED_LANGUAGE = Evaluation("fill-mask", _unmasked, _judged_masked, prepared=_masked_window)
