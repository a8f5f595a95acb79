"""PyTorch as a side of benchmarks/bleu_over_time.py: `nn.Transformer`'s layers, trained as the recipe says."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bleu_over_time import CHECK, FEED, INITIAL, SETTINGS  # the script that asks for this side
from torch.nn import functional as F
from torch_translator import WEIGHTS, Translator

from regard.batch import IGNORED_LABEL
from regard.data.batching import ArrayBatch, Batches, BucketedBatches, PlannedBatch, padded

Arrays = dict[str, Any]


class Pairs:
    """The training split: the token ids of all pairs, and the batches that they make."""

    def __init__(self, place: Path, pad: int) -> None:
        with np.load(place / FEED) as arrays:
            self.lengths, self.rates = arrays["lengths"], arrays["rates"]
            self._columns = arrays["sources"], arrays["targets"]
        self._begins, self._pad = np.cumsum(self.lengths, axis=0, dtype=np.int64) - self.lengths, pad

    def arrange(self, planned: PlannedBatch, epoch: int) -> ArrayBatch:
        """Rows as Regard's own batches have them."""
        rows, (source_size, target_size) = planned
        sources, real = self._padded(rows, 0, source_size, self._pad)
        labels, _ = self._padded(rows, 1, target_size, IGNORED_LABEL)
        return {"input_ids": sources, "attention_mask": real.astype(np.int32), "labels": labels}

    def _padded(self, rows: Any, column: int, size: int, fill: int) -> Any:
        begins, lengths = self._begins[rows, column], self.lengths[rows, column]
        ids = [self._columns[column][begin : begin + length] for begin, length in zip(begins, lengths, strict=True)]
        return padded(np.concatenate(ids), lengths, size, fill)


class ShuffledBatches(Batches):
    """So many rows a batch in a random order, padded to the longest of each side."""

    def __init__(self, pairs: Pairs, rows: int, seed: int) -> None:
        super().__init__()
        self._pairs, self._rows, self._seed = pairs, rows, seed

    def _make_plan(self, epoch: int) -> Sequence[Any]:
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._pairs.lengths))
        return np.split(order, range(self._rows, len(order), self._rows))

    def _assemble(self, planned: Any, epoch: int) -> ArrayBatch:
        source_size, target_size = self._pairs.lengths[planned].max(0)
        return self._pairs.arrange(PlannedBatch(planned, (source_size, target_size)), epoch)


Calls = tuple[Callable[[int], int], Callable[[Path], None], Callable[[], float]]  # of a `Side`


def torch_side(place: Path, compiled: bool, shuffled: bool) -> Calls:
    """Raises SystemExit where the first of Regard's batches is another here."""
    settings = json.loads((place / SETTINGS).read_text("utf-8"))
    torch.manual_seed(settings["seed"])
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = Translator(place / INITIAL)
    pairs = Pairs(place, network.pad)
    optimizer = optimizer_of(network, settings["optimizer"])
    feed = batches_of(pairs, place, settings, shuffled).iterate()

    smoothed = {"ignore_index": IGNORED_LABEL, "label_smoothing": settings["label_smoothing"], "reduction": "sum"}

    def loss_of(count: Any, ids: Any, mask: Any, labels: Any) -> Any:
        """The batch's part of the mean over `count` target tokens."""
        logits = network(ids, mask, labels).flatten(0, 1).float()
        return F.cross_entropy(logits, labels.flatten(), **smoothed) / count

    trained = torch.compile(loss_of, dynamic=True) if compiled else loss_of
    half = settings["dtype"] == "mixed_bfloat16"

    def one(number: int) -> int:
        batches = [next(feed)[0] for _ in range(settings["accumulation"])]
        targets = sum(map(targets_of, batches))
        count = torch.tensor(float(targets))
        for group in optimizer.param_groups:
            group["lr"] = float(pairs.rates[number - 1])
        optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = trained(count, *as_tensors(batch))
            loss.backward()
        network.table.weight.grad[network.pad] = 0  # as Regard's, the padding's row stays what it was
        if settings["clip_norm"] is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings["clip_norm"])
        optimizer.step()
        return targets

    def exact_loss() -> float:
        with np.load(place / CHECK) as arrays, torch.no_grad():
            batch = dict(arrays)
            network.eval()
            loss = float(loss_of(torch.tensor(float(targets_of(batch))), *as_tensors(batch)))
            network.train()
        return loss

    def save(directory: Path) -> None:
        shutil.copytree(place / INITIAL, directory)
        network.save(directory / WEIGHTS, place / INITIAL / WEIGHTS)

    return one, save, exact_loss


def targets_of(batch: Arrays) -> int:
    return int(np.count_nonzero(batch["labels"] != IGNORED_LABEL))


def as_tensors(batch: Arrays) -> Iterator[Any]:
    return (torch.from_numpy(batch[key].astype(np.int64)) for key in ("input_ids", "attention_mask", "labels"))


def batches_of(pairs: Pairs, place: Path, settings: dict[str, Any], shuffled: bool) -> Batches:
    own = {key: settings[key] for key in ("batch_tokens", "seed", "max_tokens")}
    bucketed = BucketedBatches(pairs.lengths, pairs.arrange, **own)
    if shuffled:
        rows = round(len(pairs.lengths) / bucketed.epoch_length())
        return ShuffledBatches(pairs, rows, settings["seed"])
    first = next(bucketed.epoch())
    with np.load(place / CHECK) as arrays:
        if any(not np.array_equal(first[key], arrays[key]) for key in arrays):
            raise SystemExit("the sides differ: torch's first batch is not Regard's")
    return bucketed


def optimizer_of(network: Any, config: dict[str, Any]) -> Any:
    """Adam or AdamW, fused; decay as Regard has it, never on norms and biases."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config["name"]]
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": config["weight_decay"]},
        {"params": others, "weight_decay": 0.0},
    ]
    return kind(groups, betas=(config["beta_1"], config["beta_2"]), eps=config["epsilon"], fused=True)
