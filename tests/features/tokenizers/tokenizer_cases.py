"""What is asked of every tokenizer, here and in Transformers alike."""

import hashlib
import json
import random
from collections.abc import Iterable
from typing import Any

import awkward_texts as texts

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
SHOWN = 6  # texts whose ids are recorded in full
LENGTHS = (5, 8, 13)
STRIDES = ((24, 0), (24, 3), (40, 10), (400, 8))
CONTEXT = ("Who?", " ".join(texts.SENTENCES[:4]))
LANGUAGES = {
    "mbart": ("ro_RO", "de_DE"),
    "mbart50": ("ro_RO", "sl_SI"),
    "nllb": ("zho_Hans", "eng_Latn"),
    "m2m_100": ("zh", "de"),
    "marian": ("",),
}
SAID = "The brown Fuchs springt über den Hund"


def pairs() -> list[tuple[str, str]]:
    """Pairs of texts; a second text that is empty is none to Transformers."""
    all_texts = texts.many()
    return [(text, all_texts[(3 * n + 1) % len(all_texts)] or "x") for n, text in enumerate(all_texts)]


def spelled(family: str) -> list[str]:
    """Marian's tags are found where a text begins, in Transformers; here anywhere."""
    return [text for text in texts.SPELLED if family != "marian" or ">>fr<<" not in text]


def random_ids(family: str, size: int) -> list[list[int]]:
    """Without Marian's tags, which Transformers shows in decoded text; no model writes them."""
    noise = random.Random(family)
    left_out = (2, 3) if family == "marian" else ()
    rows = [[noise.randrange(size) for _ in range(noise.randrange(1, 40))] for _ in range(60)]
    return [[i for i in row if i not in left_out] for row in rows]


def digests(values: Iterable[Any]) -> str:
    """Six hex digits for each value."""
    return "".join(hashlib.sha256(json.dumps(value).encode()).hexdigest()[:6] for value in values)


def differing(one: str, other: str) -> list[int]:
    """Which values are not the same."""
    length = max(len(one), len(other))
    return [start // 6 for start in range(0, length, 6) if one[start : start + 6] != other[start : start + 6]]
