"""A translator without a network, whose engine answers by a rule that the test knows, and the command line over it."""

import io
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest

import regard.commands.evaluate
import regard.commands.translate  # noqa: F401
from regard.cli import main
from regard.config import TokenizerConfig
from regard.decoding.options import Generation, GenerationOptions
from regard.features.tokenizer import Tokenizer
from regard.models.catalog import spec
from regard.tasks.translate import Translator

CORPUS = ["the quick brown fox jumps over the lazy dog", "ein kleiner Hund, eine Katze. Noch ein Satz!", "天气很好。"]


@dataclass
class ScriptedEngine:
    """Translates by upper-casing; hypothesis k has k exclamation marks more. Keeps the batches that it was given."""

    tokenizer: Tokenizer
    max_positions: int = 64
    batches: list[np.ndarray] = field(default_factory=list)

    @property
    def spec(self):
        ids = {"vocab_size": self.tokenizer.vocab_size, "pad_id": self.tokenizer.pad_id, "eos_id": 0}
        return spec("tiny", **ids, max_positions=self.max_positions)

    @staticmethod
    def answer(text: str, rank: int = 0) -> str:
        return text.upper() + "!" * rank

    def generate(self, batch, options):
        assert batch["input_ids"].dtype == batch["attention_mask"].dtype == np.int32
        self.batches.append(batch["input_ids"])
        rows = []
        for ids, real in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            text = self.tokenizer.decode(ids[real == 1].tolist())
            answers = [self.answer(text, rank) for rank in range(options.num_return_sequences)]
            rows.append([self.tokenizer.encode(answer)[: options.max_new_tokens] for answer in answers])
        return self._generation(rows, options)

    def _generation(self, rows, options):
        lengths = np.array([[len(ids) for ids in row] for row in rows], np.int32)
        sequences = np.full((*lengths.shape, lengths.max() + 1), self.tokenizer.pad_id, np.int32)
        token_scores = np.zeros(sequences.shape, np.float32)
        for place in np.ndindex(lengths.shape):
            length = lengths[place]
            sequences[place][:length] = rows[place[0]][place[1]]
            token_scores[place][:length] = -0.5
        scores = token_scores.sum(-1) - np.arange(lengths.shape[1])
        return Generation(
            sequences,
            lengths,
            scores if options.return_scores or options.num_beams > 1 else None,
            token_scores if options.return_scores else None,
        )


def _translator(tags=(), **settings) -> Translator:
    tokenizer = Tokenizer.train(CORPUS * 3, TokenizerConfig(vocab_size=300), tags)
    defaults = GenerationOptions(max_new_tokens=500, eos_token_id=tokenizer.eos_id, pad_token_id=tokenizer.pad_id)
    return Translator(ScriptedEngine(tokenizer, **settings), tokenizer, defaults)


@pytest.fixture(scope="session")
def make_translator():
    return _translator


@pytest.fixture
def translator():
    return _translator()


@pytest.fixture
def many_languages():
    return _translator(tags=(">>de<<", ">>en<<", ">>zh<<"))


@dataclass
class Command:
    """`regard` in this process, with a scripted translator in place of a loaded one."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, stdin: bytes = b"", translator: Translator | None = None):
        """The exit code, stdout and stderr."""
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        for verb in ("translate", "evaluate"):
            self.monkeypatch.setattr(f"regard.commands.{verb}.load_translator", lambda path: translator)
        code = main(arguments)
        return code, *self.capsys.readouterr()


@pytest.fixture
def command(monkeypatch, capsys):
    return Command(monkeypatch, capsys)
