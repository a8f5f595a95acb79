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
from regard.models.bert import from_config
from regard.models.catalog import spec
from regard.models.family import Config
from regard.nn.output import Output
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
            self.monkeypatch.setattr(f"regard.commands.{verb}.load_task", lambda model, task: translator)
        code = main(arguments)
        return code, *self.capsys.readouterr()


@pytest.fixture
def command(monkeypatch, capsys):
    return Command(monkeypatch, capsys)


WORDS = "a b c ada lovelace wrote the first program in london paris x y . , ? 天 气 好 😀 cafe ##s ##er who".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


@pytest.fixture(scope="session")
def words(tmp_path_factory):
    """A WordPiece tokenizer of a few words, one a token."""
    directory = tmp_path_factory.mktemp("words")
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCABULARY), "utf-8")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    return Tokenizer.load(directory)


def bert_config(architecture="BertModel", *, positions=512, **more):
    """A config.json of a BERT for the tokenizer of words."""
    sizes = {"hidden_size": 6, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 8}
    whole = {"model_type": "bert", "architectures": [architecture], "vocab_size": len(VOCABULARY), **sizes, **more}
    return {**whole, "max_position_embeddings": positions}


@dataclass
class ScriptedReader:
    """Answers a batch by a rule for one row: its real ids -> the fields of an Output. Fills padding with noise."""

    spec: object
    rule: object
    batches: list[dict] = field(default_factory=list)

    def __call__(self, batch):
        self.batches.append(batch)
        rows = []
        for ids, real in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            length = int(real.sum())
            assert real[:length].all(), "padding stands on the right"
            rows.append((length, self.rule(ids[:length].tolist())))
        return Output(**{name: self._stacked(rows, name, real.shape[0]) for name in rows[0][1]})

    @staticmethod
    def _stacked(rows, name, size):
        values = [np.asarray(fields[name], np.float32) for _, fields in rows]
        if all(value.shape[:1] == (length,) for (length, _), value in zip(rows, values, strict=True)):
            noise = [np.full((size - len(value), *value.shape[1:]), 1e6, np.float32) for value in values]
            values = [np.concatenate(pair) for pair in zip(values, noise, strict=True)]
        return np.stack(values)


@pytest.fixture
def reader():
    """`reader(rule, "BertModel", positions=8)`: a scripted model."""

    def make(rule, architecture="BertModel", **config):
        return ScriptedReader(from_config(Config(bert_config(architecture, **config))), rule)

    return make


@pytest.fixture(scope="session")
def config_of_bert():
    return bert_config
