"""A tiny network with the call signature that training relies on, and batches for it; whole runs at toy size."""

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from rich.console import Console

from regard.config import RunConfig, parse_run
from regard.nn.output import Output
from regard.specs import HeadSpec
from regard.training.trainer import train

VOCAB = 11
WORDS = {"red": "rot", "cat": "Katze", "dog": "Hund", "runs": "rennt", "two": "zwei", "the": "der"}
STEPS, VALIDATE_EVERY = 12, 3


class Toy(keras.Model):
    """Predicts each label from the token at its place: a table, dropout, a norm-like scale, the table again."""

    def __init__(self, dropout: float, seed: int, dtype: str) -> None:
        super().__init__(name="toy", dtype=dtype, autocast=False)
        keras.utils.set_random_seed(seed)
        self.table = self.add_weight(name="table", shape=(VOCAB, 6), initializer="random_normal")
        self.scale = self.add_weight(name="scale", shape=(6,), initializer="ones")
        self.kernel = self.add_weight(name="kernel", shape=(6, 6), initializer="glorot_uniform")
        self.dropout = keras.layers.Dropout(dropout)
        self.built = True
        self.traces = 0
        self.spec = SimpleNamespace(form="encoder-decoder", output=HeadSpec("language"))

    def call(self, batch: dict[str, Any], training: bool = False) -> Output:
        self.traces += 1
        hidden = ops.take(self.table, batch["input_ids"], axis=0)
        hidden = self.dropout(ops.tanh(ops.matmul(hidden, self.kernel) * self.scale), training=training)
        hidden = hidden * ops.cast(batch["attention_mask"], hidden.dtype)[..., None]
        return Output(logits=ops.cast(ops.matmul(hidden, ops.transpose(self.table)), "float32"))


@pytest.fixture(scope="session")
def toy() -> Callable[..., Toy]:
    return lambda dropout=0.0, seed=0, dtype="float32": Toy(dropout, seed, dtype)


@pytest.fixture(scope="session")
def random_batch() -> Callable[..., dict[str, np.ndarray]]:
    def make(rows: int = 4, length: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, VOCAB, (rows, length)).astype(np.int32)
        labels[rng.random((rows, length)) < 0.3] = -100
        labels[0, 0] = 1
        return {
            "input_ids": rng.integers(0, VOCAB, (rows, length)).astype(np.int32),
            "attention_mask": np.ones((rows, length), np.int32),
            "labels": labels,
        }

    return make


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    rng = random.Random(0)
    for name, pairs in (("train", 150), ("validation", 12)):
        sources = [rng.choices(list(WORDS), k=rng.randint(2, 12)) for _ in range(pairs)]
        lines = [" ".join(source) + "\t" + " ".join(WORDS[word] for word in source) for source in sources]
        (directory / f"{name}.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return directory


@pytest.fixture(scope="session")
def toy_run(corpus: Path) -> Callable[..., RunConfig]:
    def make(**training: Any) -> RunConfig:
        values = {
            "seed": 5,
            "data": {
                "train": [{"tsv": str(corpus / "train.tsv")}],
                "validation": [{"tsv": str(corpus / "validation.tsv")}],
                "workers": 1,
            },
            "tokenizer": {"vocab_size": 320},
            "model": {"preset": "tiny", "width": 8, "heads": 2, "ffn_width": 8, "encoder_depth": 1, "decoder_depth": 1},
            "training": {
                "steps": STEPS,
                "batch_tokens": 128,
                "streams": 2,
                "log_every": 2,
                "validate_every": VALIDATE_EVERY,
                "score_examples": 0,
                "keep_last": 2,
                "average": "last",
                "dtype": "float32",
                "schedule": {"name": "inverse_sqrt", "peak": 0.02, "warmup_steps": 4},
                **training,
            },
            "decoding": {"num_beams": 2, "max_new_tokens": 12},
        }
        return parse_run(values)

    return make


@pytest.fixture(scope="session")
def undisturbed(toy_run: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("undisturbed")
    train(toy_run(), directory, console=Console(file=io.StringIO()))
    return directory


@pytest.fixture
def begun(undisturbed: Path, tmp_path: Path) -> Path:
    """A run directory whose data are prepared, and nothing more."""
    shutil.copytree(undisturbed / "data", tmp_path / "run" / "data")
    return tmp_path / "run"


@pytest.fixture
def done(undisturbed: Path, tmp_path: Path) -> Path:
    shutil.copytree(undisturbed, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def records() -> Callable[[Path], list[dict[str, Any]]]:
    return read_records


def read_records(directory: Path) -> list[dict[str, Any]]:
    clocks = {"seconds", "tokens_per_second"}
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in clocks} for line in lines]


def outcome(directory: Path) -> dict[str, Any]:
    """All that a run leaves behind, clocks aside."""
    found: dict[str, Any] = {"records": read_records(directory)}
    for path in sorted([*directory.glob("checkpoints/*/*"), *directory.glob("model/*")]):
        name = str(path.relative_to(directory))
        if path.name == "state.json":
            values = json.loads(path.read_text("utf-8"))
            values["state"] = {
                **values["state"],
                "seconds": 0,
                "interval": {**values["state"]["interval"], "seconds": 0, "timed_tokens": 0},
            }
            found[name] = values
        elif path.name != "manifest.json":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="session")
def assert_as_if_nothing_had_happened() -> Callable[[Path, Path], None]:
    def check(directory: Path, undisturbed: Path) -> None:
        one, other = outcome(directory), outcome(undisturbed)
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == other[name], name

    return check
