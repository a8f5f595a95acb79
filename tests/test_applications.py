"""Each application from packages to use, by its own recipe at toy size: its builder reads what the test makes.

Captions have theirs in `corpora/test_emoji.py`.
"""

import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from PIL import Image

from regard.cli import main
from regard.config import load_run
from regard.corpora import BUILDERS

sys.path += [str(Path(__file__).parent / "corpora")]

import test_debian_corpora as debian
import test_fashion
import test_package_texts
import test_speech
import test_text_builders

RECIPES = Path(__file__).parent.parent / "recipes"
WIDTH = {"width": 16, "heads": 2, "ffn_width": 32}
ONE_SIDE = {**WIDTH, "depth": 1}
TWO_SIDES = {**WIDTH, "encoder_depth": 1, "decoder_depth": 1}
SHORT = {
    "training.steps": 2,
    "training.log_every": 1,
    "training.validate_every": 2,
    "training.schedule.warmup_steps": 1,
}
LONGEST = {"model.max_positions": 64, "data.max_tokens": 64}
SMALL = {"data.workers": 1, "tokenizer.vocab_size": 400, "training.batch_tokens": 512, **LONGEST}


class Application(NamedTuple):
    network: Mapping[str, int]
    verb: Sequence[str]  # what follows the run
    metrics: set[str]
    attention: str | None  # what the report shows of it, by its heading
    changed: Mapping[str, Any] = SMALL


def written(metrics: set[str], *verb: str) -> Application:
    return Application(TWO_SIDES, verb, metrics, "Cross-attention", SMALL | {"decoding.max_new_tokens": 8})


def understood(metrics: set[str], *verb: str, attention: str | None = "Self-attention") -> Application:
    return Application(ONE_SIDE, verb, metrics, attention)


def heard(network: Mapping[str, int]) -> Application:
    return Application(network, ["transcribe", "{sound}"], {"wer", "cer"}, "Tokens over time", SOUNDS)


PICTURES = {"data.workers": 1, "training.batch_images": 16, "model.patch_size": 7}
SOUNDS = {"data.workers": 1, "training.batch_recordings": 8, "tokenizer.vocab_size": 300}
APPLICATIONS = {
    "translate/en-de": written({"bleu", "chrf"}, "translate", "amber birch"),
    "translate/four-ways": written({"bleu", "chrf"}, "translate", "树林", "--target-lang", "en"),
    "summarise/packages": written({"rouge1", "rouge2", "rouge_l", "copied1"}, "summarise", "amber birch"),
    "answer/written": written({"exact_match", "f1"}, "generate", "amber birch"),
    "answer/manpages": understood({"exact_match", "f1"}, "answer", "What is amber?", "--context", "It is birch."),
    "classify/sections-scratch": understood({"accuracy", "macro_f1"}, "classify", "a tool"),
    "classify/sections-masked": understood({"perplexity"}, "fill-mask", "a <mask>"),
    "embed/packages-scratch": understood({"recall10"}, "embed", "a tool", attention=None),
    "language-model/english": understood({"bits_per_byte"}, "generate", "amber", "--max-new-tokens", "4"),
    "classify-image/fashion-mnist": Application(
        ONE_SIDE, ["classify-image", "{picture}"], {"accuracy", "macro_f1"}, "Attention over the picture", PICTURES
    ),
    "transcribe/espeak": heard(TWO_SIDES),
    "transcribe/espeak-ctc": heard({**WIDTH, "encoder_depth": 1}),
}


def cipher(words: Sequence[str], letters: str) -> list[str]:
    """A language in which each word is another word."""
    return [f"{letters}{word[::-1]}" for word in words]


def help_pages() -> dict[str, dict[str, bytes]]:
    """The packages of the builders of pairs, with pages that are long enough for three splits."""
    rng = random.Random(0)
    sentences = [rng.choices(debian.WORDS, k=9) for _ in range(700)]
    pages = {
        "en-us": ("en-US", sentences),
        "de": ("de", [cipher(words, "w") for words in sentences]),
        "zh-cn": ("zh-CN", [cipher(words, "词") for words in sentences]),
    }
    return debian.FILES | {
        f"libreoffice-help-{package}": {
            f"{debian.HELP}/{name}/text/a/b.html": debian.help_page(*(" ".join(words) for words in texts))
        }
        for package, (name, texts) in pages.items()
    }


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A cache with everything that the builders read, without apt; and a picture and a recording to use a model on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "regard"
    debian.pin_packages(cache, monkeypatch, help_pages())
    test_fashion.pin_package(cache, monkeypatch)
    test_package_texts.pin_indexes(cache, monkeypatch)
    test_speech.stand_in(monkeypatch)
    monkeypatch.setattr(test_speech.Hum, "seconds", 3.0)
    test_text_builders.stand_in(monkeypatch)
    found = {"picture": str(tmp_path / "picture.png"), "sound": str(tmp_path / "sound.wav")}
    Image.fromarray(test_fashion.pixels_of("t10k")[0]).save(found["picture"])
    soundfile.write(found["sound"], np.sin(np.arange(16000) / 9).astype(np.float32) / 9, 16000)
    return found


@pytest.mark.parametrize("recipe", APPLICATIONS)
def test_a_recipe_leads_from_packages_to_a_model_that_is_scored_shown_and_used(
    recipe: str, places: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    application, run, file = APPLICATIONS[recipe], tmp_path / "run", RECIPES / f"{recipe}.toml"
    changed = {f"model.{name}": value for name, value in application.network.items()} | SHORT | application.changed
    settings = [part for name, value in changed.items() for part in ("--set", f"{name}={value}")]
    assert main(["train", str(file), "-o", str(run), *settings]) == 0, capsys.readouterr().err
    assert main(["evaluate", str(run)]) == 0, capsys.readouterr().err
    for group in json.loads((run / "evaluation-test.json").read_text("utf-8"))["groups"]:
        assert application.metrics <= group["scores"].keys()
        for score in (group["scores"][name] for name in application.metrics):
            low, high = score["interval"]
            assert low <= score["value"] <= high
    page = (run / "report.html").read_text("utf-8")
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.DOTALL)
    assert headings[:2] == ["Learning", "Scores on held-out data"]
    if "bits_per_byte" in application.metrics:
        assert headings.pop(2) == "What it writes"
        assert 0 < page.count('<p class="sample"') <= 12
    assert re.match(r"12 unselected|\d unselected", headings[2])
    assert headings[3:] == ["The worst errors", *filter(None, [application.attention]), "The run"]
    card = (run / "model" / "README.md").read_text("utf-8")
    assert BUILDERS[str(load_run(file, []).data.builder)].limits in " ".join(card.split())
    capsys.readouterr()
    verb, *given = (part.format(**places) for part in application.verb)
    assert main([verb, str(run), *given]) == 0, capsys.readouterr().err
    assert verb in ("translate", "summarise", "generate", "transcribe") or capsys.readouterr().out.strip()
