"""One model for four directions through the command line, on words that have a German and a Chinese name."""

import json
import random
import re

import pytest
import tokenizers

import regard
from regard.batch import Example
from regard.cli import main
from regard.corpora.corpus import Corpora
from regard.errors import ConfigError

WORDS = {
    "red": ("rot", "红"),
    "cat": ("Katze", "猫"),
    "dog": ("Hund", "狗"),
    "sun": ("Sonne", "日"),
    "one": ("eins", "一"),
}
WAYS = (("en", "de"), ("de", "en"), ("en", "zh"), ("zh", "en"))
RUN = """
seed = 2
[data]
builder = "debian-four-ways"
language_tags = true
temperature = 2.0
max_tokens = 16
workers = 1
[tokenizer]
vocab_size = 320
[model]
preset = "tiny"
width = 48
heads = 2
ffn_width = 96
encoder_depth = 1
decoder_depth = 1
dropout = 0.0
norm_order = "pre"
max_positions = 24
[training]
steps = 400
batch_tokens = 512
validate_every = 200
log_every = 50
score_examples = 12
label_smoothing = 0.0
dtype = "float32"
[training.schedule]
name = "cosine"
peak = 5e-3
warmup_steps = 20
[decoding]
num_beams = 2
max_new_tokens = 16
"""


def written(words, language):
    """The words in a language: Chinese has no spaces."""
    if language == "en":
        return " ".join(words)
    names = [WORDS[word][("de", "zh").index(language)] for word in words]
    return ("" if language == "zh" else " ").join(names)


def corpus():
    """Three times as many German pairs as Chinese ones to learn from; 6 of each direction held out."""
    draw = random.Random(4)
    every = [draw.sample(list(WORDS), k=draw.randint(1, 3)) for _ in range(700)]
    held_out = [list(words) for words in sorted({tuple(words) for words in every if len(words) == 3})[::5]]
    train, parts = [], {}
    for way in WAYS:
        chosen = [words for words in every if words not in held_out][: 600 if "de" in way else 200]
        train += [Example(written(words, way[0]), written(words, way[1]), *way) for words in chosen]
        parts["-".join(way)] = len(chosen)
    validation, test = (
        [Example(written(words, way[0]), written(words, way[1]), *way) for words in held_out[part] for way in WAYS]
        for part in (slice(6), slice(6, 12))
    )
    return Corpora(train, validation, test, {}, "made up by a test", parts)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("four_ways")
    (place / "run.toml").write_text(RUN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("regard.corpora.build", lambda name, cache, report: corpus())
        assert main(["train", "run.toml", "-o", "run"]) == 0
    return place / "run"


@pytest.fixture
def command(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parent)

    def call(*arguments):
        code = main(arguments)
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("target", "source", "translation"),
    [
        ("de", "cat", "Katze"),
        ("zh", "cat", "猫"),
        ("en", "Katze", "cat"),
        ("en", "猫", "cat"),
    ],
)
def test_the_target_language_decides_what_the_same_model_writes(command, run, target, source, translation):
    assert command("translate", "run", "--target-lang", target, source) == (0, f"{translation}\n", "")
    found = regard.load(run)(source, target_lang=target)
    assert (found.text, found.target_lang) == (translation, target)


def test_a_language_may_be_named_as_other_families_do(command):
    assert command("translate", "run", "--target-lang", "deu", "sun")[:2] == (0, "Sonne\n")


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (("--target-lang", "fr"), "target_lang must be one of de, en, zh, but is 'fr'"),
        (("--target-lang", "German"), "target_lang must be one of de, en, zh, but is 'German': the nearest is de"),
        ((), "this model translates into several languages: give target_lang, one of de, en, zh"),
        (
            ("--target-lang", "de", "--source-lang", "en"),
            "is not told what it translates from and takes no source_lang",
        ),
    ],
)
def test_an_unknown_language_is_one_line_that_names_those_there_are(command, asked, complaint):
    code, out, err = command("translate", "run", *asked, "sun")
    assert (code, out) == (2, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_evaluate_scores_each_direction_by_itself_under_its_own_tokenizer(command, run):
    code, out, _ = command("evaluate", "run", "--json")
    directions = json.loads(out)["directions"]
    assert code == 0
    assert sorted((each["source_lang"], each["target_lang"]) for each in directions) == sorted(WAYS)
    for each in directions:
        assert each["count"] == 6
        assert re.search(r"tok:(\w+)", each["bleu_signature"])[1] == ("zh" if each["target_lang"] == "zh" else "13a")
        for score in ("bleu", "chrf"):
            low, high = each[f"{score}_interval"]
            assert low <= each[score] <= high
    code, out, _ = command("evaluate", "run", "--source-lang", "zh", "--target-lang", "en", "--json")
    assert [each["count"] for each in json.loads(out)["directions"]] == [6]


def test_each_output_is_of_the_language_that_was_asked_for(command, run):
    assert command("evaluate", "run")[0] == 0
    found = [json.loads(line) for line in (run / "evaluation-test.jsonl").read_text("utf-8").splitlines()]
    assert len(found) == 6 * len(WAYS)
    for each in found:
        latin = bool(re.search("[a-zA-Z]", each["output"]))
        han = bool(re.search("[\u4e00-\u9fff]", each["output"]))
        assert (latin, han) == ((False, True) if each["languages"][1] == "zh" else (True, False))


def test_directions_are_mixed_at_the_temperature(run):
    from regard.config import load_run
    from regard.data.shards import PreparedData
    from regard.training.assembly import corpus_names, mixing

    prepared, made = PreparedData.open(run / "data"), corpus()
    config = load_run(run / "run.toml")
    assert mixing(config, prepared) == {"curriculum": None, "temperature": 2.0, "corpora": tuple(made.parts.values())}
    assert corpus_names(config, prepared) == tuple(made.parts)
    alone = PreparedData(prepared.directory, {**prepared.manifest, "parts": []})
    with pytest.raises(
        ConfigError, match=r"data\.temperature mixes corpora, but data\.builder = .* brings a single one"
    ):
        mixing(config, alone)


def test_transformers_reads_the_tag_from_the_text(run):
    """What its tokenizer makes of ">>zh<< red cat", by the library that it stands on."""
    translator = regard.load(run)
    kept = tokenizers.Tokenizer.from_file(str(run / "model" / "tokenizer.json"))
    for target in ("de", "en", "zh"):
        assert kept.encode(f">>{target}<< red cat").ids == translator.source_ids("red cat", target)
