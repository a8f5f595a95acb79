"""The n-grams of words that stand beside a recogniser without a decoder, and how its frames are searched with them."""

from dataclasses import dataclass
from pathlib import Path

from regard.decoding.ngrams import NGrams
from regard.errors import CheckpointError
from regard.interop.directory import read_json, write_json

DIRECTORY = "language_model"  # in a model directory, as Transformers keeps one beside its CTC models
_NGRAMS, _SETTINGS = "words.arpa", "attrs.json"


@dataclass(frozen=True)
class WordSearch:
    """What `regard.decoding.prefixes` is told where nobody says otherwise."""

    ngrams: NGrams
    num_beams: int
    alpha: float  # what the n-grams count
    beta: float  # and each word

    def save(self, model: Path) -> None:
        """Write it into a model directory."""
        directory = model / DIRECTORY
        directory.mkdir(exist_ok=True)
        (directory / _NGRAMS).write_text("\n".join(self.ngrams.to_arpa()) + "\n", "utf-8")
        write_json(directory, _SETTINGS, {"alpha": self.alpha, "beta": self.beta, "num_beams": self.num_beams})


def read_word_search(model: Path) -> WordSearch | None:
    """What a model directory holds; None where it holds none. Raises CheckpointError for damaged files."""
    directory = model / DIRECTORY
    if not directory.is_dir():
        return None
    settings = read_json(directory, _SETTINGS, required=True)
    found = {}
    for name, default in (("alpha", 0.5), ("beta", 1.0), ("num_beams", 16)):
        value = settings.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"{directory / _SETTINGS}: {name} must be a number, but is {value!r}")
        found[name] = value
    try:
        with (directory / _NGRAMS).open(encoding="utf-8") as lines:
            ngrams = NGrams.from_arpa(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {directory / _NGRAMS}: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{directory / _NGRAMS}: {error}") from None
    return WordSearch(ngrams, max(1, int(found["num_beams"])), float(found["alpha"]), float(found["beta"]))
