"""How likely a word is after those before it, by counts: n-grams with back-off, as an ARPA file holds them."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from regard.errors import CheckpointError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
_HEADING = re.compile(r"\\(\d{1,2})-grams:")
_LN10 = math.log(10)
_NEVER = -99.0  # of <s>, which stands before every text and is never predicted

Gram = tuple[str, ...]


class Entry(NamedTuple):
    """Of an n-gram, as base 10 logarithms: its probability, and what its shorter continuations are multiplied by."""

    probability: float
    back_off: float = 0.0


class NGrams:
    """`entries` of every order (Katz 1987: a word that was not seen after a context is looked for after a shorter one).

    A word that no entry knows is `<unk>`.
    """

    def __init__(self, entries: dict[Gram, Entry]) -> None:
        self.entries = entries
        self.order = max(map(len, entries))

    @classmethod
    def of_texts(cls, texts: Iterable[Sequence[str]], order: int) -> Self:
        """Interpolated Kneser-Ney of texts as words (Chen and Goodman 1999, section 2.7), a discount for each order."""
        counts = [Counter[Gram]() for _ in range(order)]
        for words in texts:
            padded = (BEGIN, *words, END)
            for size in range(1, order + 1):
                for last in range(1, len(padded)):  # of words alone: <s> stands before, and is not predicted
                    if last + 1 >= size:
                        counts[size - 1][padded[last + 1 - size : last + 1]] += 1
        for size in range(1, order):  # how many words an n-gram was seen after, unless it begins a text
            before = Counter(gram[1:] for gram in counts[size])
            for gram in counts[size - 1]:
                if gram[0] != BEGIN:
                    counts[size - 1][gram] = before[gram]
        return cls(_interpolated(counts))

    def score(self, context: Gram, word: str) -> float:
        """log p(word | context) in nats; of the context the last `order` - 1 words count."""
        known = word if (word,) in self.entries else UNKNOWN
        near = context[max(0, len(context) - self.order + 1) :]
        context = tuple(each if (each,) in self.entries else UNKNOWN for each in near)
        weight = 0.0
        for begin in range(len(context) + 1):
            held = context[begin:]
            found = self.entries.get((*held, known))
            if found is not None:
                return (weight + found.probability) * _LN10
            weight += self.entries[held].back_off if held in self.entries else 0.0
        raise AssertionError("every word is known, or unknown")

    def to_arpa(self) -> Iterator[str]:
        """The lines of an ARPA file."""
        by_order: dict[int, list[Gram]] = defaultdict(list)
        for gram in self.entries:
            by_order[len(gram)].append(gram)
        yield "\\data\\"
        for size in sorted(by_order):
            yield f"ngram {size}={len(by_order[size])}"
        for size in sorted(by_order):
            yield f"\n\\{size}-grams:"
            for gram in sorted(by_order[size]):
                probability, back_off = self.entries[gram]
                last = f"\t{back_off:.6f}" if size < self.order else ""
                yield f"{probability:.6f}\t{' '.join(gram)}{last}"
        yield "\n\\end\\"

    @classmethod
    def from_arpa(cls, lines: Iterable[str]) -> Self:
        """Raises CheckpointError, with the line's number, for what is no ARPA file."""
        entries: dict[Gram, Entry] = {}
        size = 0
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if heading := _HEADING.fullmatch(text):
                size = int(heading[1])
            elif size and text and not text.startswith("\\"):
                try:
                    probability, words, *back_off = text.split("\t")
                    gram = tuple(words.split(" "))
                    entries[gram] = Entry(float(probability), float(back_off[0]) if back_off else 0.0)
                except (ValueError, IndexError):
                    raise CheckpointError(f"line {number} is no {size}-gram of an ARPA file: {text[:80]!r}") from None
                if len(gram) != size:
                    raise CheckpointError(f"line {number} must hold {size} words, but holds {len(gram)}")
        if (UNKNOWN,) not in entries:
            raise CheckpointError(f"no ARPA file of a language model: it has no {UNKNOWN}")
        return cls(entries)


def _interpolated(counts: Sequence[Counter[Gram]]) -> dict[Gram, Entry]:
    entries: dict[Gram, Entry] = {}
    probabilities: dict[Gram, float] = {}
    for size, of_size in enumerate(counts, 1):
        often = Counter(of_size.values())
        discount = often[1] / (often[1] + 2 * often[2]) if often[1] and often[2] else 0.5
        totals, kinds = Counter[Gram](), Counter[Gram]()
        for gram, count in of_size.items():
            totals[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        shares = {context: discount * kinds[context] / total for context, total in totals.items()}
        if size == 1:
            uniform = shares[()] / len({*of_size, (UNKNOWN,)})
            probabilities[UNKNOWN,] = uniform
            for gram, count in of_size.items():
                probabilities[gram] = (count - discount) / totals[()] + uniform
        else:
            for gram, count in of_size.items():
                context = gram[:-1]
                lower = probabilities[gram[1:]]
                probabilities[gram] = (count - discount) / totals[context] + shares[context] * lower
            for context, share in shares.items():  # what is left to words that were not seen after it
                entries[context] = entries.get(context, Entry(_NEVER))._replace(back_off=math.log10(share))
        for gram in [*of_size, *([(UNKNOWN,)] if size == 1 else [])]:
            entries[gram] = Entry(math.log10(probabilities[gram]))
    return entries
