"""Short English texts spoken by espeak-ng to train on; to test, voices that training never heard, and a human being.

The texts are clauses of Debian's package descriptions: to validate and to test those whose words are all among the
1,000 most frequent ones, to train on among the 3,000. Of few texts a recogniser learns which words follow which, where
it should learn what they sound like. A text is spoken once, by a voice that a hash chooses: an accent and a variant,
which is what a speaker is. Variants are split between training, validation and test, and so are the texts. The human
recordings are the prompts of Asterisk, a telephone exchange, at 8 kHz.
"""

import base64
import gzip
import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from regard.batch import SpeechExample
from regard.corpora.archives import package_files
from regard.corpora.corpus import Corpora, Pinned, Report, check_pinned
from regard.corpora.descriptions import DESCRIPTIONS_ORIGIN, Description, read_descriptions
from regard.corpora.espeak import RATE, VERSION, Synthesiser
from regard.corpora.fetch import Fetcher, Package
from regard.corpora.near_copies import near_copies
from regard.corpora.splits import Split, bucket, split_of

PROMPTS = (
    Package(
        "asterisk-core-sounds-en-wav", "1.6.1-1", "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d"
    ),
    Package("asterisk-core-sounds-en", "1.6.1-1", "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50"),
)
SOUNDS, LISTING = "usr/share/asterisk/sounds/en_US_f_Allison/", "usr/share/doc/asterisk-core-sounds-en/"
MOST_SECONDS = 4.0  # of a recording
WORDS: dict[Split, int] = {"train": 3_000, "validation": 1_000, "test": 1_000}  # the most frequent ones
LEAST_WORDS, MOST_WORDS = 3, 9  # of a text
TEXTS: dict[Split, int] = {"train": 30_000, "validation": 200, "test": 500}
TEXTS_BELOW = (60, 90)  # test and validation, of a thousand texts
VOICES_BELOW = (150, 300)  # the same, of a thousand variants
RATES, PITCHES = (140, 190), (30, 70)  # words a minute; of 0 to 99
UNSEEN, HUMAN = "unseen voices", "human"  # the groups of the test split
PINNED: Pinned | None = Pinned(28_744, 197, 941, "ace77b1ae44710cec5e6db95c04d78dd69062ea511eb6f8a5439ffe57ef8c2c1")

ACCENTS = "en-gb en-us en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-029 en-us-nyc".split()
# Without those that are robots, whispers and the like.
VARIANTS = (
    "adam Alex Alicia Andrea Andy anika Annie announcer antonio aunty belinda benjamin boris caleb david "
    "Denis Diogo ed edward edward2 f1 f2 f3 f4 f5 Gene Gene2 grandma grandpa gustave Henrique Hugo iven "
    "iven2 iven3 iven4 Jacky john kaukovalta klatt klatt2 klatt3 klatt4 Lee linda m1 m2 m3 m4 m5 m6 m7 m8 "
    "marcelo Marco Mario max Michael michel miguel Mike norbert pablo paul pedro quincy rob robert sandro "
    "shelby steph steph2 steph3 travis Tweaky victor zac"
).split()
_ORIGIN = (
    f"texts of {DESCRIPTIONS_ORIGIN}; spoken by espeak-ng {VERSION} (GPL-3+); prompts of asterisk-core-sounds-en "
    "(CC-BY-SA-3.0), by Allison Smith"
)
_CLAUSE_END = re.compile(r"[.,;:!?()\[\]\"]+(?:\s|$)| - ")
_PLAIN = re.compile(r"[a-z]+(?: [a-z']+)*")
_DIGITS = dict(enumerate("zero one two three four five six seven eight nine".split()))


class Utterance(NamedTuple):
    """What is said, by whom, how fast (words a minute) and how high (0 to 99)."""

    text: str
    voice: str
    rate: int
    pitch: int


def build_speech(cache: Path, report: Report) -> Corpora:
    """Fetches 45 MB at the first call, and speaks for some minutes; what is spoken stays in the cache."""
    fetcher, counts = Fetcher(cache), Counter[str]()
    prompts = list(read_prompts(fetcher, counts))
    texts = chosen_texts(read_descriptions(fetcher), {text for text, _ in prompts}, counts)
    synthesiser, digest = Synthesiser(fetcher), hashlib.sha256()
    splits: dict[Split, list[SpeechExample]] = {}
    for split, own in texts.items():
        report(f"speech: {split}: speaking {len(own):,} texts")
        utterances = [utterance_of(text, split) for text in own]
        files = list(spoken(synthesiser, utterances, cache / "speech"))
        splits[split] = []
        for utterance, file in zip(utterances, files, strict=True):
            samples, _ = soundfile.read(file, dtype="int16")
            digest.update(f"{utterance}\n".encode() + samples.tobytes())
            if len(samples) > MOST_SECONDS * RATE:
                counts[f"dropped: {split} text over {MOST_SECONDS:g} s"] += 1
                continue
            held = split != "train"  # what is scored goes along with the data, wherever the cache is then
            splits[split].append(
                SpeechExample(inline(samples, RATE) if held else str(file), utterance.text, UNSEEN if held else "")
            )
    for text, content in prompts:
        digest.update(text.encode() + content)
        splits["test"].append(SpeechExample(_inline(content, "wav"), text, HUMAN))
    counts.update({split: len(own) for split, own in splits.items()})
    for what, count in counts.items():
        report(f"speech: {what}: {count:,}")
    corpora = Corpora(splits["train"], splits["validation"], splits["test"], dict(counts), _ORIGIN)
    report(f"speech: SHA-256 {digest.hexdigest()}")
    return check_pinned("speech", corpora, PINNED, "recordings", sha256=digest.hexdigest(), tool="espeak-ng")


def chosen_texts(
    descriptions: Sequence[Description], left_out: set[str], counts: Counter[str]
) -> dict[Split, list[str]]:
    """Clauses of frequent words alone, in the order of a hash, split by another; none of `left_out`, and in training
    none that nearly equals a held-out one: a word of six may be another, the other five would be known."""
    clauses = {clause for description in descriptions for clause in clauses_of(description)}
    frequent = Counter(word for clause in clauses for word in clause.split())
    order = sorted(frequent.items(), key=lambda item: (-item[1], item[0]))
    ranks = {word: rank for rank, (word, _) in enumerate(order, 1)}
    counts["clauses"] = len(clauses)
    found: dict[Split, list[str]] = {"train": [], "validation": [], "test": []}
    for clause in sorted(clauses - left_out, key=lambda text: (_number("order", text), text)):
        split = split_of(clause, *TEXTS_BELOW)
        if max(ranks[word] for word in clause.split()) <= WORDS[split]:
            found[split].append(clause)
    counts.update({f"clauses of frequent words: {split}": len(own) for split, own in found.items()})
    test = found["test"][: TEXTS["test"]]
    validation = _apart(found["validation"], test, "validation", counts)[: TEXTS["validation"]]
    train = _apart(found["train"], [*validation, *test], "train", counts)[: TEXTS["train"]]
    return {"train": train, "validation": validation, "test": test}


def _apart(clauses: Sequence[str], held_out: Sequence[str], what: str, counts: Counter[str]) -> list[str]:
    near = near_copies(clauses, held_out)
    counts[f"dropped: {what} clause that nearly equals a held-out one"] += len(near)
    return [clause for clause in clauses if clause not in near]


def clauses_of(description: Description) -> Iterator[str]:
    for paragraph in (description.synopsis, *description.paragraphs):
        for clause in _CLAUSE_END.split(paragraph.lower()):
            clause = " ".join(clause.split())
            if LEAST_WORDS <= len(clause.split()) <= MOST_WORDS and _PLAIN.fullmatch(clause):
                yield clause


def variants(split: Split) -> list[str]:
    """The variants of a split: those of one name (steph, steph2) are in one, but for m1 to m8 and f1 to f5."""
    return [name for name in VARIANTS if split_of(f"variant {_family(name)}", *VOICES_BELOW) == split]


def _family(variant: str) -> str:
    stem = variant.rstrip("0123456789")
    return stem if len(stem) > 1 else variant


def utterance_of(text: str, split: Split) -> Utterance:
    """Who says a text in a split, and how: a hash of the text."""
    accent, variant = _choice("accent", text, ACCENTS), _choice("variant", text, variants(split))
    rate, pitch = (first + _number(what, text) % (last + 1 - first) for what, (first, last) in _RANGES.items())
    return Utterance(text, f"{accent}+{variant}", rate, pitch)


_RANGES = {"rate": RATES, "pitch": PITCHES}


def _number(what: str, text: str) -> int:
    return bucket(f"{what} {text}", 2**32)


def _choice(what: str, text: str, among: Sequence[str]) -> str:
    return among[_number(what, text) % len(among)]


def spoken(synthesiser: Synthesiser, utterances: Sequence[Utterance], folder: Path) -> Iterator[Path]:
    """A FLAC of each utterance, named by its content; those that are there already are not spoken again."""

    def speak(utterance: Utterance) -> Path:
        name = hashlib.sha1(f"{VERSION} {utterance}".encode()).hexdigest()
        file = folder / name[:2] / f"{name}.flac"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(f".{os.getpid()}")
            soundfile.write(unfinished, synthesiser.speak(*utterance), RATE, format="FLAC")
            unfinished.replace(file)
        return file

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:  # each waits for a process of its own
        yield from threads.map(speak, utterances)


def read_prompts(fetcher: Fetcher, counts: Counter[str]) -> Iterator[tuple[str, bytes]]:
    """What a human being says, and the WAV, of the prompts that are short enough and whose text is words."""
    sounds, listing = map(fetcher.package, PROMPTS)
    files = package_files(sounds, (SOUNDS,), (".wav",))
    (listed,) = package_files(listing, (LISTING,), ("core-sounds-en.txt.gz",)).values()
    seen = set()
    for line in gzip.decompress(listed).decode("utf-8").splitlines():
        name, colon, said = line.partition(":")
        content = files.get(f"{SOUNDS}{name.strip()}.wav")
        if line.startswith(";") or not colon or content is None:
            continue
        text = prompt_text(said)
        if text is None:
            counts["dropped: prompt that is no words"] += 1
        elif soundfile.info(io.BytesIO(content)).duration > MOST_SECONDS:
            counts[f"dropped: prompt over {MOST_SECONDS:g} s"] += 1
        elif (text, content) not in seen:
            seen.add((text, content))
            yield text, content


def prompt_text(said: str) -> str | None:
    """Words alone, in lower case, digits spelled; None where something else is heard, or nobody knows what."""
    text = re.sub(r"\b\d\b", lambda digit: _DIGITS[int(digit[0])], said.lower().replace("\u2019", "'"))
    words = re.sub(r"[-.,;:!?\"]", " ", text).split()
    text = " ".join(word.strip("'") for word in words)
    return text if _PLAIN.fullmatch(text) else None


def inline(samples: NDArray[np.int16], rate: int) -> str:
    """A FLAC in a data: URI."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC")
    return _inline(buffer.getvalue(), "flac")


def _inline(content: bytes, kind: str) -> str:
    return f"data:audio/{kind};base64," + base64.b64encode(content).decode()
