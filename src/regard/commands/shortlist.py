"""`regard shortlist`: what a translator's tokens translate to, counted in the pairs that it was trained on."""

import sys
from pathlib import Path

import numpy as np

from regard.config import load_run
from regard.data.shards import PreparedData, TokenShards
from regard.data.word_translation import Texts, likeliest, most_frequent, word_translations
from regard.decoding.lexical_shortlist import LexicalShortlist
from regard.errors import InputError
from regard.interop.shortlist_file import write_shortlist

_JUDGED = 2000  # held-out pairs in which the shortlist is looked for


def make_shortlist(run: Path, file: Path, *, frequent: int, best: int, pairs: int) -> None:
    """Write it, and say on stderr how much of held-out translations it holds."""
    for name, value in (("--frequent", frequent), ("--best", best), ("--pairs", pairs)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, but is {value}")
    if not (run / "data").is_dir():
        raise InputError(f"{run} holds no prepared data: give a run directory, where `regard prepare` has been")
    task = load_run(run / "run.toml").task
    if task != "translate":
        raise InputError(f"a shortlist is of a translator's training pairs, but the run is for {task}")
    data = PreparedData.open(run / "data")
    train, vocab_size = data.split("train"), data.tokenizer.vocab_size
    count = min(pairs, len(train))
    rows = np.arange(count) * len(train) // count  # from all parts of the data
    sources, targets = (_column(train, rows, column) for column in (0, 1))
    table = word_translations(sources, targets, vocab_size)
    shortlist = LexicalShortlist(
        most_frequent(targets, vocab_size, frequent), likeliest(table, vocab_size, min(best, vocab_size))
    )
    write_shortlist(file, shortlist, data.tokenizer)
    print(f"{file}: counted in {count:,} of {len(train):,} training pairs", file=sys.stderr)
    if "validation" in data.manifest["splits"]:
        size, held = held_by(shortlist, data.split("validation"))
        print(
            f"{file}: of the {vocab_size:,} tokens a validation source keeps {size:,.0f} on average, among them "
            f"{held:.2%} of the tokens of its translation",
            file=sys.stderr,
        )


def _column(shards: TokenShards, rows: np.ndarray, column: int) -> Texts:
    return Texts(shards.gather(rows, column), shards.lengths[rows, column].astype(np.int64))


def held_by(shortlist: LexicalShortlist, shards: TokenShards) -> tuple[float, float]:
    """The tokens that a source keeps, on average, and the share of its translation's tokens among them."""
    kept = held = total = 0
    count = min(len(shards), _JUDGED)
    for row in np.arange(count) * len(shards) // count:
        source, target = shards.row(int(row))
        tokens, _ = shortlist.of_rows(source[None], np.ones((1, len(source)), bool), ())
        kept += len(tokens)
        held += int(np.isin(target, tokens).sum())
        total += len(target)
    return kept / count, held / total
