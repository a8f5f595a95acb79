"""Whole runs of speech recognition at toy size: a letter is a tone, by a decoder and by the frames alone."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from regard.batch import SpeechExample
from regard.cli import app
from regard.config import parse_run
from regard.data.objectives.catalog import objective_of
from regard.data.shards import PreparedData
from regard.errors import ConfigError, InputError, TrainingInterrupted
from regard.explain.card import write_card
from regard.explain.run_facts import facts_of
from regard.interop.checkpoints import load_model
from regard.interop.directory import read_json
from regard.metrics.transcripts import error_rates
from regard.tasks.judging.sounds import FRAME_TRANSCRIPTS
from regard.tasks.loading import load
from regard.tasks.transcribe import Transcriber
from regard.tasks.transcribe_frames import FrameTranscriber
from regard.training.assembly import rehearsal
from regard.training.trainer import train

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "features" / "tokenizers")]

import tiny_tokenizers as vocabularies
from whole_runs import assert_two_replicas_train_as_one_device, bits, quiet, validations, with_training

NGRAMS = {"order": 2, "num_beams": 4, "alpha": 0.25, "beta": 0.5}
RATE, LETTER = 16_000, 0.2  # samples a second; seconds
TONES = {"a": 300, "b": 700, "c": 1500, "d": 3000}  # hz
SIZES = {"width": 32, "heads": 2, "ffn_width": 64, "encoder_depth": 1, "dropout": 0.0}
STEPS = {"transcribe": 120, "transcribe-ctc": 180}


def said(number):
    """Some letters, and their tones, a pause after each, with some noise."""
    rng = np.random.default_rng(number)
    letters = rng.choice(list(TONES), rng.integers(2, 5))
    times = np.arange(int(LETTER * RATE)) / RATE
    tones = [0.3 * np.sin(2 * np.pi * TONES[letter] * times) * (times < LETTER - 0.03) for letter in letters]
    return " ".join(letters), np.concatenate(tones) + rng.normal(0, 1e-3, len(times) * len(letters))


def record(folder, facts_of):
    """A directory of recordings and what is said in them, with whatever else is known of each number's."""
    for split, numbers in (("train", range(200)), ("validation", range(200, 216))):
        lines = []
        for number in numbers:
            text, samples = said(number)
            soundfile.write(folder / f"{number}.flac", samples, RATE)
            lines.append({"audio": f"{number}.flac", "text": text, **facts_of(number)})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    return record(tmp_path_factory.mktemp("tape"), lambda number: {"group": "odd" if number % 2 else "even"})


def run_of(tape, task, **sections):
    data = {split: [{"jsonl": f"{tape}/{split}.jsonl"}] for split in ("train", "validation")}
    written = task == "transcribe"
    return parse_run(
        {
            "task": task,
            "seed": 3,
            "data": {**data, "workers": 1, "audio_seconds": 1, "max_tokens": 16}
            | ({"frame_ms": 10} if written else {"frame_ms": 20, "pad_to_multiple_ms": 240}),
            "augmentation": {"level": 6.0, "frequency_masks": 1, "frequency_mask": 4, "time_masks": 1, "time_mask": 3},
            "tokenizer": {"vocab_size": 300},
            "model": {**SIZES, **({"decoder_depth": 1, "max_positions": 32} if written else {})},
            **({"decoding": {"num_beams": 1, "max_new_tokens": 16}} if written else {"ngrams": NGRAMS}),
            "training": {
                "steps": STEPS[task],
                "batch_recordings": 16,
                "streams": 2,
                "log_every": 10,
                "validate_every": STEPS[task] // 2,
                "dtype": "float32",
                "best": "wer",
                "schedule": {"name": "constant", "peak": 0.01, "warmup_steps": 10},
                **({"score_examples": 16} if written else {}),
                **sections.pop("training", {}),
            },
            **sections,
        }
    )


@pytest.fixture(scope="module")
def undisturbed(tape, tmp_path_factory):
    directories = {}
    for task in STEPS:
        directories[task] = tmp_path_factory.mktemp(task)
        train(run_of(tape, task), directories[task], console=quiet())
    return directories


@pytest.mark.parametrize("task", list(STEPS))
def test_a_transcriber_learns_what_tones_say_and_the_command_line_prints_it(task, tape, undisturbed):
    last = min(validations(undisturbed[task]), key=lambda score: score["wer"])
    assert last["wer"] < 0.15
    assert last["cer"] < 0.15
    found = [(number, said(number)[0]) for number in range(200, 208)]
    paths = [str(tape / f"{number}.flac") for number, _ in found]
    printed = CliRunner().invoke(app, ["transcribe", str(undisturbed[task]), *paths])
    assert printed.exit_code == 0, printed.output
    texts = [line.partition("\t")[2] for line in printed.stdout.splitlines()]
    assert error_rates(texts, [text for _, text in found])["wer"] < 0.25
    alone = CliRunner().invoke(app, ["transcribe", str(undisturbed[task]), paths[0]])
    assert alone.stdout == texts[0] + "\n"


def begun_with(tape, start, steps, **sections):
    """A transcriber with the ears of a recogniser of frames."""
    values = run_of(tape, "transcribe").model_dump(exclude_unset=True, by_alias=True)
    data = {key: value for key, value in values["data"].items() if key not in ("audio_seconds", "frame_ms")}
    training = {**values["training"], "steps": steps, "validate_every": steps}
    kept = {key: values[key] for key in ("task", "seed", "augmentation", "decoding")}
    return parse_run({**kept, "data": data, "model": {"from": str(start)}, "training": training, **sections})


def test_a_decoder_is_set_on_what_heard_frames_and_learns_to_write(tape, undisturbed, tmp_path):
    heard, run = undisturbed["transcribe-ctc"], begun_with(tape, undisturbed["transcribe-ctc"], 100)
    first = rehearsal(run, tmp_path / "first", quiet())
    ears = {variable.path: np.asarray(variable.value) for variable in load_model(heard / "model").variables}
    ours = {variable.path: np.asarray(variable.value) for variable in first.step.model.variables}
    assert sum(path.startswith("encoder/") for path in ears) > 10
    for path, value in ears.items():
        if path.startswith("encoder/"):
            np.testing.assert_array_equal(ours[path], value, path)
    spec = first.step.model.spec
    assert (spec.form, spec.source.whole_windows, spec.decoder.depth) == ("encoder-decoder", True, spec.encoder.depth)
    assert first.prepared.processor.pad_to_multiple_of is None
    assert first.prepared.tokenizer.content_hash == PreparedData.open(heard / "data").tokenizer_hash
    train(run, tmp_path / "run", console=quiet())
    assert validations(tmp_path / "run")[-1]["wer"] < 0.5, "a guess is wrong in three of four"
    assert read_json(tmp_path / "run" / "model", "generation_config.json")["is_multilingual"] is False
    assert load(tmp_path / "run")(str(tape / "200.flac")).text


def test_a_decoder_that_was_set_on_goes_on_to_the_same_bits(tape, undisturbed, tmp_path):
    training = {"validate_every": 4, "best": "loss", "batch_recordings": 16, "dtype": "float32"}
    for name, stops in (("whole", (8,)), ("cut", (4, 8))):
        for steps in stops:
            run = begun_with(tape, undisturbed["transcribe-ctc"], 8, training={**training, "steps": steps})
            train(run, tmp_path / name, console=quiet())
    assert bits(tmp_path / "cut" / "checkpoints") == bits(tmp_path / "whole" / "checkpoints")


@pytest.mark.parametrize("task", list(STEPS))
def test_an_evaluation_has_both_rates_of_each_group_and_they_are_those_of_the_transcripts(task, undisturbed):
    directory = undisturbed[task]
    evaluated = CliRunner().invoke(app, ["evaluate", str(directory), "--split", "validation", "--json"])
    assert evaluated.exit_code == 0, evaluated.output
    record = json.loads(evaluated.stdout)
    groups = record["groups"]
    assert record["settings"].get("temperature") == (0.0 if task == "transcribe" else None), "no sample is scored"
    assert [(group["name"], group["examples"]) for group in groups] == [("even", 8), ("odd", 8)]
    lines = (directory / "evaluation-validation.jsonl").read_text("utf-8").splitlines()
    judged = [json.loads(line) for line in lines]
    for group in groups:
        own = [each for each in judged if each["group"] == group["name"]]
        rates = error_rates([each["output"] for each in own], [each["reference"] for each in own])
        for name, rate in rates.items():
            assert group["scores"][name]["value"] == pytest.approx(rate)
            low, high = group["scores"][name]["interval"]
            assert low <= rate <= high
    page = (directory / "report.html").read_text("utf-8")
    assert "word error rate" in page
    maps = [json.loads(text) for text in re.findall(r'json">({"source".*?)</script>', page)]
    assert len(maps) == 3
    for one in maps:
        (sums,) = np.reshape(one["weights"][-1][0], (1, len(one["target"]), len(one["source"]))).sum(-1)
        if task == "transcribe":
            assert (one["source"][-1], one["drawn"]) == ("silence behind it", len(one["source"]) - 1)
            np.testing.assert_allclose(sums, one["per"], atol=30)
        else:
            assert one["target"][-1] == "(blank)"
            assert np.count_nonzero(one["weights"][-1][0]) == one["drawn"], "each place says one token, or none"


def test_scores_are_those_of_the_weights_that_they_are_shown_with(undisturbed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed["transcribe-ctc"], run)
    arguments = ["evaluate", str(run), "--split", "validation", "--num-beams", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert facts_of(run).evaluations.keys() == {"validation"}
    weights = run / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # as if training had gone on
    weights.write_bytes(content)
    assert facts_of(run).evaluations == {}
    write_card(run)
    assert "word error rate" not in (run / "model" / "README.md").read_text("utf-8")


def test_without_a_decoder_the_validation_rate_is_that_of_the_task(tape, undisturbed):
    directory = undisturbed["transcribe-ctc"]
    best = min(validations(directory), key=lambda score: score["wer"])
    paths, transcribe = [str(tape / f"{number}.flac") for number in range(200, 216)], load(directory)
    texts = [each.text for each in transcribe(paths, num_beams=1)]
    again = [each.text for each in transcribe(paths, num_beams=1, batch_size=5)]
    assert again == texts, "each is padded by its own length"
    assert error_rates(texts, [said(number)[0] for number in range(200, 216)])["wer"] == pytest.approx(best["wer"])


def test_the_words_of_the_training_texts_stand_beside_the_model_and_are_searched_with(tape, undisturbed):
    transcribe = load(undisturbed["transcribe-ctc"])
    assert (transcribe.words.num_beams, transcribe.words.alpha, transcribe.words.beta) == (4, 0.25, 0.5)
    assert transcribe.words.ngrams.order == 2
    assert {gram[0] for gram in transcribe.words.ngrams.entries if len(gram) == 1} >= set(TONES)
    paths = [str(tape / f"{number}.flac") for number in range(200, 216)]
    first = transcribe(paths[0])
    assert transcribe(paths[0], num_beams=4, alpha=0.25, beta=0.5) == first
    assert transcribe(paths[0], alpha=0.0, beta=40.0).text.split() != first.text.split(), (
        "each letter a word of its own"
    )
    record = json.loads((undisturbed["transcribe-ctc"] / "evaluation-validation.json").read_text("utf-8"))
    assert record["settings"] == {"num_beams": 4, "alpha": 0.25, "beta": 0.5}
    with pytest.raises(InputError, match="this model has no decoder and no max_new_tokens"):
        transcribe(paths[0], max_new_tokens=3)
    with pytest.raises(InputError, match="are for models without a decoder that have n-grams"):
        load(undisturbed["transcribe"])(paths[0], alpha=0.5)
    transcribe.words = None
    with pytest.raises(InputError, match="has no n-grams of words, which alpha and beta are for"):
        transcribe(paths[0], beta=0.5)
    assert isinstance(transcribe(paths[0], num_beams=4).text, str)


def test_the_two_kinds_are_compared_on_one_test_set(undisturbed, tmp_path):
    for task, directory in undisturbed.items():
        arguments = ["evaluate", str(directory), "--split", "validation", "-o", str(tmp_path / "new" / f"{task}.json")]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    records = [str(tmp_path / "new" / f"{task}.json") for task in undisturbed]
    compared = CliRunner().invoke(app, ["evaluate", "--compare", *records, "--json"])
    assert compared.exit_code == 0, compared.output
    assert {each["metric"] for each in json.loads(compared.stdout)["differences"]} >= {"wer", "cer"}


def test_a_checkpoint_says_how_long_its_windows_are_and_is_a_whisper_where_it_has_a_decoder(undisturbed):
    for task, architecture, kind, places in (
        ("transcribe", "WhisperForConditionalGeneration", Transcriber, 50),
        ("transcribe-ctc", "WhisperForCTC", FrameTranscriber, 25),  # its frames come half as often
    ):
        model = undisturbed[task] / "model"
        config, processor = read_json(model, "config.json"), read_json(model, "preprocessor_config.json")
        assert config["architectures"] == [architecture]
        assert (config["max_source_positions"], processor["nb_max_frames"]) == (places, 2 * places)
        assert processor["chunk_length"] == 1
        assert processor.get("pad_to_multiple_of") == (None if kind is Transcriber else 3840)
        assert type(load(undisturbed[task])) is kind
        assert config.get("bos_token_id") is None
    generation = read_json(undisturbed["transcribe"] / "model", "generation_config.json")
    assert generation["is_multilingual"] is False


@pytest.mark.full  # make test stops, and goes on with, runs on texts, which share all of it (test_objectives.py)
def test_a_run_of_recordings_stopped_and_gone_on_with_ends_with_the_same_bits(tape, tmp_path):
    run = run_of(tape, "transcribe-ctc", training={"steps": 6, "validate_every": 3, "best": "loss"})
    train(run, tmp_path / "undisturbed", console=quiet())
    asked_for = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(run, tmp_path / "stopped", stop=lambda: next(asked_for) > 3, console=quiet())
    train(run, tmp_path / "stopped", console=quiet())
    assert bits(tmp_path / "stopped") == bits(tmp_path / "undisturbed")


@pytest.mark.full
@pytest.mark.parametrize("task", ["transcribe", "transcribe-ctc"])
def test_two_replicas_train_on_recordings_as_one_device(task, tape, tmp_path):
    training = {"steps": 6, "validate_every": 3, "batch_recordings": 3, "log_every": 1, "best": "loss", "streams": 1}
    run = with_training(run_of(tape, task), **training)
    assert_two_replicas_train_as_one_device(run, tmp_path)


def test_the_loss_of_frames_is_that_of_each_recording_alone(undisturbed):
    directory = undisturbed["transcribe-ctc"]
    prepared, task = PreparedData.open(directory / "data"), load(directory)
    shards, objective = prepared.split("validation"), objective_of(run_of("", "transcribe-ctc")).of(prepared)
    nats = []
    for row in range(len(shards)):
        features, labels = objective.features(shards, np.array([row])), shards.row(row)[0]
        loss = task.engine({"input_features": features, "labels": labels[None]}).loss
        nats.append(float(loss) * len(labels))
    best = min(validations(directory), key=lambda score: (score["wer"], score["step"]))
    assert sum(nats) / shards.lengths.sum() == pytest.approx(best["loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("task", "sections", "words"),
    [
        ("transcribe", {"model": {"preset": "vit-mini"}}, r"one that reads recordings \(whisper-mini, .*\) for"),
        ("transcribe", {"decoding": {"max_new_tokens": 40}}, "decoding.max_new_tokens must be at most"),
        ("transcribe-ctc", {"decoding": {"num_beams": 2}}, "decoding is for .*, but task is 'transcribe-ctc'"),
        ("transcribe-ctc", {"model": {"decoder_depth": 2}}, "model.decoder_depth is of a decoder, which"),
        ("transcribe-ctc", {"augmentation": {"flip": True}}, "augmentation.flip is for classify-image, caption"),
        ("transcribe", {"training": {"best": "bleu"}}, "training.best must be one of loss, wer, cer for transcribe"),
    ],
)
def test_a_run_that_does_not_suit_recordings_is_refused_by_name(task, sections, words, tape, tmp_path):
    with pytest.raises(ConfigError, match=words):
        train(run_of(tape, task, **sections), tmp_path, console=quiet())


def test_ctc_takes_no_tokenizer_that_puts_a_token_before_every_text(tape, tmp_path):
    path = str(vocabularies.write("bert", tmp_path / "bert"))
    with pytest.raises(ConfigError, match="puts cls before every text, which nobody speaks"):
        train(run_of(tape, "transcribe-ctc", tokenizer={"path": path}), tmp_path / "run", console=quiet())


def test_a_language_that_a_recording_says_is_nothing_to_frames(tape, undisturbed):
    examples = [SpeechExample(str(tape / f"{number}.flac"), said(number)[0], "", "en") for number in (200, 201)]
    found = list(FRAME_TRANSCRIPTS.predict(load(undisturbed["transcribe-ctc"]), examples, {}))
    assert [each.language for each in found] == [None, None]


def test_what_asks_for_a_decoder_is_refused_where_there_is_none(tape, undisturbed):
    asked = ["transcribe", str(undisturbed["transcribe-ctc"]), str(tape / "200.flac")]
    refused = CliRunner().invoke(app, [*asked, "--timestamps"])
    assert refused.exit_code != 0
    assert "this model has no decoder and no timestamps: leave that out" in str(refused.exception or refused.output)
