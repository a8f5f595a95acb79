"""Whisper, as a checkpoint has it, and a run's own transcriber go on from their weights: a letter is a tone."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from regard.batch import SpeechExample
from regard.cli import main
from regard.config import RunConfig, parse_run
from regard.data.objectives.catalog import objective_of
from regard.data.prepare import prepare
from regard.data.shards import PreparedData
from regard.errors import ConfigError, DataError, InputError, RegardError
from regard.interop.directory import read_json
from regard.tasks.judging.sounds import TRANSCRIPTS
from regard.tasks.loading import load
from regard.training.starting import brought_by
from regard.training.trainer import train

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tasks" / "speech")]

import whispers
from test_speech_runs import record, said
from whole_runs import bits, quiet, validations

SPOKEN = {0: "de", 1: "en"}  # by the number's remainder
END, START = whispers.END, whispers.START
TOLD = {code: [whispers.ID[f"<|{name}|>"] for name in (code, "transcribe", "notimestamps")] for code in ("de", "en")}


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of which those in English say so."""
    return record(tmp_path_factory.mktemp("tape"), lambda number: {"language": "English"} if number % 2 else {})


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.write(tmp_path_factory.mktemp("whisper"), 1)


def run_of(tape: Path, start: Path, data: dict[str, Any], **tables: Any) -> RunConfig:
    splits = {split: [{"jsonl": f"{tape}/{split}.jsonl"}] for split in ("train", "validation")}
    training = {"steps": 150, "batch_recordings": 16, "log_every": 10, "validate_every": 75, "dtype": "float32"}
    schedule = {"name": "constant", "peak": 0.01, "warmup_steps": 10}
    return parse_run(
        {
            "task": "transcribe",
            "seed": 3,
            "data": {**splits, "workers": 1, "max_tokens": 24, **data},
            "model": {"from": str(start)},
            "decoding": {"num_beams": 1, "max_new_tokens": 16},
            "training": {**training, "best": "wer", "score_examples": 16, "schedule": schedule},
            **tables,
        }
    )


@pytest.fixture(scope="module")
def tuned(tape: Path, whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tuned")
    train(run_of(tape, whisper, {"language": "German"}), directory, console=quiet())
    return directory


def test_a_text_is_learned_behind_its_language_and_task(tuned: Path) -> None:
    """Without a blank that is a token of its own, as it is in this vocabulary, and with which no text may begin."""
    prepared = PreparedData.open(tuned / "data")
    shards, tokenizer = prepared.split("validation"), prepared.tokenizer
    for row in range(len(shards)):
        text, language = said(200 + row)[0], SPOKEN[row % 2]
        letters = [tokenizer.token_id(letter) for letter in text.replace(" ", "Ġ")]
        assert shards.gather(np.array([row]), 0).tolist() == [*TOLD[language], *letters, END]


def test_a_whisper_goes_on_from_its_weights_and_stays_one(
    tuned: Path, whisper: Path, tape: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert min(score["wer"] for score in validations(tuned)) < 0.35, "a guess is wrong in three of four"
    config = read_json(tuned / "model", "config.json")
    assert {key: config[key] for key in ("model_type", "d_model", "vocab_size")} == {
        key: whispers.CONFIG[key] for key in ("model_type", "d_model", "vocab_size")
    }
    said_of = read_json(tuned / "model", "generation_config.json")
    assert said_of["begin_suppress_tokens"] == whispers.GENERATION["begin_suppress_tokens"]
    assert (said_of["is_multilingual"], said_of["lang_to_id"]) == (True, whispers.GENERATION["lang_to_id"])
    assert read_json(tuned / "model", "preprocessor_config.json")["chunk_length"] == 1
    transcriber = load(tuned)
    found = transcriber([str(tape / f"{number}.flac") for number in range(200, 216)], temperature=0.0)
    assert sum(each.text == said(200 + row)[0] for row, each in enumerate(found)) > 6
    assert main(["transcribe", str(tuned), str(tape / "200.flac"), "--language", "de"]) == 0
    assert capsys.readouterr().out == f"{found[0].text}\n"


def test_an_evaluation_tells_the_language_of_each_recording(
    tuned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from regard.tasks.transcribe import Transcriber

    told = []
    each = Transcriber.each

    def heard(self: Transcriber, sources: Any, **settings: Any) -> Any:
        for found in each(self, sources, **settings):
            told.append(settings.get("language"))
            yield found

    monkeypatch.setattr(Transcriber, "each", heard)
    assert main(["evaluate", str(tuned), "--split", "validation", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)["groups"][0]["scores"]["wer"]["value"]
    assert score == pytest.approx(min(each["wer"] for each in validations(tuned))), "as training has measured it"
    assert told[:16] == 8 * ["English"] + 8 * ["German"]
    lines = map(json.loads, (tuned / "evaluation-validation.jsonl").read_text("utf-8").splitlines())
    assert {(Path(line["inputs"]["audio"]).stem, line["languages"][1]) for line in lines} == {
        (str(number), "English" if number % 2 else "German") for number in range(200, 216)
    }


def test_a_killed_fine_tuning_goes_on_to_the_same_bits(tuned: Path, whisper: Path, tape: Path, tmp_path: Path) -> None:
    short = {"steps": 75, "batch_recordings": 16, "log_every": 10, "validate_every": 75, "dtype": "float32"}
    run = run_of(tape, whisper, {"language": "German"})
    first = run.model_copy(update={"training": run.training.model_copy(update={"steps": short["steps"]})})
    train(first, tmp_path, console=quiet())
    train(run, tmp_path, console=quiet())
    assert bits(tmp_path / "checkpoints") == bits(tuned / "checkpoints")


def test_a_run_s_own_transcriber_is_told_nothing_and_goes_on(tape: Path, tuned: Path, tmp_path: Path) -> None:
    from test_speech_runs import run_of as own_run

    fresh = own_run(tape, "transcribe").model_dump(exclude_unset=True, by_alias=True)
    fresh["training"] |= {"steps": 2, "validate_every": 2, "best": "loss"}
    train(parse_run(fresh), tmp_path / "own", console=quiet())
    training = {**fresh["training"], "steps": 4}
    going_on = run_of(tape, tmp_path / "own", {}, training=training)
    assert train(going_on, tmp_path / "on", console=quiet()).step == 4
    shards = PreparedData.open(tmp_path / "on" / "data").split("validation")
    own = PreparedData.open(tmp_path / "own" / "data").split("validation")
    assert shards.gather(np.arange(3), 0).tolist() == own.gather(np.arange(3), 0).tolist()
    with pytest.raises(ConfigError, match=r"data\.language is told to a checkpoint, and this one is told nothing"):
        prepare_by(run_of(tape, tmp_path / "own", {"language": "de"}, training=training), tmp_path / "told")


def prepare_by(run: RunConfig, directory: Path) -> PreparedData:
    return prepare(run, directory, given=brought_by(run))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r'told what is spoken, and .*train.jsonl:1 has no "language": give it one, or set data.language'),
        ({"language": "Klingon"}, r"data.language: there is no language 'Klingon'"),
        ({"language": "fr"}, r"data.language: this model does not know fr: language must be one of cy, de, en"),
    ],
)
def test_a_language_that_is_not_said_or_not_known_is_one_line(
    data: dict[str, str], message: str, tape: Path, whisper: Path, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as raised:
        prepare_by(run_of(tape, whisper, data), tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": {"audio_seconds": 2}}, "data.audio_seconds cannot stand beside model.from, which brings"),
        ({"task": "transcribe-ctc"}, "model.from is for other tasks: transcribe-ctc trains a new network"),
        ({"model": {"preset": "whisper-mini"}, "data": {"language": "de", "audio_seconds": 1}}, "and there is none"),
        ({"task": "translate", "data": {"language": "de"}}, "data.language is for transcribe, but task is 'translate'"),
    ],
)
def test_keys_that_cannot_stand_together_are_one_line(changed: dict[str, Any], message: str) -> None:
    values = {
        "task": "transcribe",
        "model": {"from": "x"},
        "training": {"steps": 1},
        **changed,
        "data": {"train": [{"jsonl": "x"}], **changed.get("data", {})},
    }
    with pytest.raises(RegardError, match=message):
        parse_run(values)


def test_a_checkpoint_of_images_is_no_start_for_recordings(tape: Path, whisper: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in whisper.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}', "utf-8")
    with pytest.raises(RegardError, match="does not say how recordings are prepared, in a preprocessor"):
        prepare_by(run_of(tape, other, {"language": "de"}), tmp_path / "data")


def test_a_language_that_an_evaluated_model_does_not_know_is_told_before_any_work(tuned: Path) -> None:
    examples = [SpeechExample("a.wav", "a", "", "de"), SpeechExample("b.wav", "b", "", "fr")]
    with pytest.raises(InputError, match="this model does not know fr"):
        next(TRANSCRIPTS.predict(load(tuned), examples, {}))


def test_a_text_must_fit_behind_what_the_model_is_told(tape: Path, whisper: Path, tmp_path: Path) -> None:
    run = run_of(tape, whisper, {"language": "de"}, decoding={"max_new_tokens": 37})
    with pytest.raises(ConfigError, match=r"at most model\.max_positions \(40\) less the 4 tokens that the"):
        train(run, tmp_path, console=quiet())


def test_a_text_is_written_as_whisper_does_where_the_run_file_does_not_say() -> None:
    values = {"task": "transcribe", "data": {"train": [{"jsonl": "x"}]}, "training": {"steps": 1}}
    told = parse_run({**values, "model": {"from": "x"}, "decoding": {"max_new_tokens": 99}}).decoding
    assert (told.num_beams, told.length_penalty_form, told.max_new_tokens) == (1, "transformers", 99)
    fresh = parse_run({**values, "data": {**values["data"], "audio_seconds": 1}}).decoding
    assert (fresh.num_beams, fresh.length_penalty_form) == (4, "gnmt")


def test_an_english_whisper_is_told_no_language(tape: Path, tmp_path: Path) -> None:
    english = {key: value for key, value in whispers.GENERATION.items() if key not in ("lang_to_id", "task_to_id")}
    start = whispers.write(tmp_path / "english", 1, {**english, "is_multilingual": False})
    lines = [json.dumps({"audio": str(tape / "0.flac"), "text": "a", "language": ""})]
    (tmp_path / "listing.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    splits = {split: [{"jsonl": str(tmp_path / "listing.jsonl")}] for split in ("train", "validation")}
    shards = prepare_by(run_of(tape, start, splits), tmp_path / "data").split("train")
    assert shards.gather(np.array([0]), 0).tolist() == [whispers.NO_TIMESTAMPS, 0, END]
    with pytest.raises(ConfigError, match=r"data\.language: this model does not know de: language must be one of en"):
        prepare_by(run_of(tape, start, {**splits, "language": "de"}), tmp_path / "german")


def test_the_objective_of_a_multilingual_whisper_knows_what_to_write_first(whisper: Path, tape: Path) -> None:
    run = run_of(tape, whisper, {"language": "de"})
    bring = brought_by(run)
    assert bring is not None
    objective = objective_of(run).with_given(bring())
    assert list(objective.prefix("en")) == TOLD["en"]
