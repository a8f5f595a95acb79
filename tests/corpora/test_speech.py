"""The builder of speech, on a synthesiser and packages that the test makes."""

import gzip
import io
import subprocess
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import soundfile

from regard.corpora import espeak, speech
from regard.corpora.descriptions import Description
from regard.corpora.espeak import RATE, Synthesiser
from regard.corpora.near_copies import near_copies
from regard.corpora.speech import (
    ACCENTS,
    HUMAN,
    PITCHES,
    RATES,
    UNSEEN,
    VARIANTS,
    build_speech,
    chosen_texts,
    clauses_of,
    prompt_text,
    utterance_of,
    variants,
)
from regard.data.objectives.files import opened
from regard.errors import DataError, FetchError
from regard.features.samples import read_audio


def described(number, synopsis, *paragraphs):
    return Description(f"package-{number}", f"source-{number}", "misc", synopsis, paragraphs)


WORDS = "red blue green cold warm small large old new fast slow near far high low".split()
DESCRIPTIONS = [
    described(number, f"a {one} house", f"The {one} cat sees the {other} dog. It has {number} legs, and runs {other}.")
    for number, (one, other) in enumerate((one, other) for one in WORDS for other in WORDS)
]


class Hum:
    """Speaks a tone as long as the text, which the voice makes louder; counts its words."""

    seconds = 0.1  # of most texts

    def __init__(self, *_):
        self.spoken = 0

    def speak(self, text, voice, rate, pitch):
        self.spoken += 1
        seconds = 5 if text == "a far house" else self.seconds
        times = np.arange(int(RATE * seconds)) / RATE
        return (1000 * np.sin(2 * np.pi * (100 + len(text) + len(voice)) * times)).astype(np.int16)


def wav(seconds):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(int(8000 * seconds), np.int16), 8000, format="WAV")
    return buffer.getvalue()


LISTING = """; Core sounds
welcome: Welcome to the tests.
long: This takes too long.
tone: [a tone]
key-2: Press 2.
absent: Nobody recorded this.
"""


def stand_in(monkeypatch):
    """What the builder reads, without apt; gives who speaks."""
    sounds = {"welcome": wav(1), "long": wav(4.5), "tone": wav(1), "key-2": wav(0.5)}
    files = {f"{speech.SOUNDS}{name}.wav": content for name, content in sounds.items()}
    listed = {f"{speech.LISTING}core-sounds-en.txt.gz": gzip.compress(LISTING.encode())}
    hum = Hum()
    monkeypatch.setattr(speech, "Fetcher", lambda cache: cache)
    monkeypatch.setattr(speech, "PROMPTS", ("wav", "txt"))
    monkeypatch.setattr(speech, "read_prompts", lambda fetcher, counts: prompts_of(fetcher, counts))
    monkeypatch.setattr(speech, "read_descriptions", lambda fetcher: DESCRIPTIONS)
    monkeypatch.setattr(speech, "Synthesiser", lambda fetcher: hum)
    monkeypatch.setattr(speech, "PINNED", None)
    monkeypatch.setattr(speech, "package_files", lambda name, *_: files if name == "wav" else listed)
    read = READ_PROMPTS

    def prompts_of(_, counts):
        return read(FetchesNothing(), counts)

    return hum


@pytest.fixture
def packages(monkeypatch):
    return stand_in(monkeypatch)


READ_PROMPTS = speech.read_prompts


class FetchesNothing:
    def package(self, name):
        return name


def test_recordings_are_of_unseen_voices_and_texts_and_of_a_human_being(packages, tmp_path):
    built = build_speech(tmp_path, lambda line: None)
    groups = Counter(example.group for example in built.test)
    assert groups[HUMAN] == 2
    assert groups[UNSEEN] > 3
    assert [example.text for example in built.test if example.group == HUMAN] == ["welcome to the tests", "press two"]
    sides = [{example.text for example in split} for split in (built.train, built.validation, built.test)]
    assert all(one.isdisjoint(other) for one, other in combinations(sides, 2))
    assert all(set(variants(one)).isdisjoint(variants(other)) for one in ("train", "validation") for other in ("test",))
    assert "a far house" not in set().union(*sides)
    assert built.counts["dropped: prompt that is no words"] == built.counts["dropped: prompt over 4 s"] == 1
    assert sum(count for what, count in built.counts.items() if what.endswith("text over 4 s")) == 1
    first = built.train[0]
    said = utterance_of(first.text, "train")
    expected = Hum().speak(*said).astype(np.float32) / 2**15
    np.testing.assert_array_equal(read_audio(opened(first.audio), RATE), expected)


def test_a_second_build_speaks_nothing_and_is_the_same(packages, tmp_path, monkeypatch):
    lines = []
    first = build_speech(tmp_path, lines.append)
    spoken, packages.spoken = packages.spoken, 0
    again = build_speech(tmp_path, lines.append)
    assert (spoken > 100, packages.spoken) == (True, 0)
    assert again.sha256 == first.sha256
    hashes = {line for line in lines if "SHA-256" in line}
    assert len(hashes) == 1
    pinned = speech.Pinned(len(first.train), len(first.validation), len(first.test), "another")
    monkeypatch.setattr(speech, "PINNED", pinned)
    with pytest.raises(DataError, match="but another is pinned for these packages"):
        build_speech(tmp_path, lines.append)


def test_clauses_are_plain_words_between_marks():
    text = described(0, "Tools for X", "A fast tool, with 3 modes. It's a small one - and it doesn't bite: (no.)")
    assert list(clauses_of(text)) == ["tools for x", "a fast tool", "and it doesn't bite"]


def test_texts_of_rare_words_and_those_of_the_prompts_are_left_out(monkeypatch):
    monkeypatch.setattr(speech, "WORDS", {"train": 12, "validation": 8, "test": 8})
    found = chosen_texts(DESCRIPTIONS, {"a red house"}, Counter())
    texts = [text for own in found.values() for text in own]
    assert texts
    assert "a red house" not in texts
    words = {split: {word for text in own for word in text.split()} for split, own in found.items()}
    assert len(words["test"] | words["validation"]) <= 8 < len(words["train"]) <= 12
    assert found == chosen_texts(DESCRIPTIONS[::-1], {"a red house"}, Counter())


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (" Please press 1, then 'star'.", "please press one then star"),
        ("Call-Forward on No Answer.", "call forward on no answer"),
        ("Password incorrect.  Please enter your party's name...", "password incorrect please enter your party's name"),
        ("[beep]", None),
        ("dial 500", None),
        ("at [@]", None),
        ("(1 second of silence)", None),
    ],
)
def test_prompts_are_words_or_nothing(said, text):
    assert prompt_text(said) == text


def test_voices_of_one_name_are_in_one_split_and_each_split_has_some():
    split_of = {name: split for split in ("train", "validation", "test") for name in variants(split)}
    assert set(split_of) == set(VARIANTS)
    assert set(split_of.values()) == {"train", "validation", "test"}
    assert len({split_of[name] for name in ("steph", "steph2", "steph3")}) == 1
    for text in ("one", "two", "three"):
        said = utterance_of(text, "test")
        accent, _, variant = said.voice.partition("+")
        assert accent in ACCENTS
        assert split_of[variant] == "test"
        assert RATES[0] <= said.rate <= RATES[1]
        assert PITCHES[0] <= said.pitch <= PITCHES[1]
        assert said == utterance_of(text, "test")


def test_without_packages_an_installed_program_of_the_right_version_speaks_and_another_is_refused(monkeypatch):
    class Offline:
        def package(self, package):
            raise FetchError("apt-get is not on this machine")

    said, samples = {"version": "eSpeak NG text-to-speech: 1.51  Data at: /x"}, np.arange(9, dtype="<i2")

    def run(command, **_):
        content = said["version"].encode() if "--version" in command else b"RIFF".ljust(44) + samples.tobytes()
        return subprocess.CompletedProcess(command, 0, content, b"")

    monkeypatch.setattr(espeak.subprocess, "run", run)
    monkeypatch.setattr(espeak.shutil, "which", lambda name: None)
    with pytest.raises(FetchError, match=r"not on this machine\): install the package espeak-ng, or libpulse0"):
        Synthesiser(Offline())
    monkeypatch.setattr(espeak.shutil, "which", lambda name: "/usr/bin/espeak-ng")
    np.testing.assert_array_equal(Synthesiser(Offline()).speak("hello", "en-us", 150, 50), samples)
    said["version"] = "eSpeak NG text-to-speech: 1.50  Data at: /x"
    with pytest.raises(FetchError, match=r"must be 1\.51, for others speak otherwise, but is: eSpeak NG"):
        Synthesiser(Offline())


def test_nothing_is_trained_on_that_nearly_equals_what_is_held_out(monkeypatch):
    stem = "a small {} that shows the state of the network"
    words = [chr(97 + one) + chr(97 + other) for one in range(20) for other in range(20)]
    texts = [stem.format(word) for word in words] + [f"{word} reads {word}{word} files" for word in words]
    monkeypatch.setattr(speech, "clauses_of", lambda description: [description])
    monkeypatch.setattr(speech, "WORDS", dict.fromkeys(speech.TEXTS, 10_000))
    counts = Counter()
    found = chosen_texts(texts, set(), counts)
    assert found["test"]
    assert found["train"]
    for split, held in (("train", [*found["validation"], *found["test"]]), ("validation", found["test"])):
        assert not near_copies(found[split], held)
    assert any("small" in text for text in found["test"]), "of the likes of which training has none then"
    assert not any("small" in text for text in found["train"])
    assert counts["dropped: train clause that nearly equals a held-out one"] > 100
