"""Recordings on their way to a batch: read once, kept as samples, varied by hashes, heard as the checkpoint will."""

import base64
import io
import json
from itertools import islice

import numpy as np
import pytest
import soundfile

from regard.config import AugmentationConfig, parse_run
from regard.data.batching import Position
from regard.data.objectives.catalog import objective_of
from regard.data.objectives.files import opened
from regard.data.objectives.objective import Batching
from regard.data.objectives.transcribe import TranscribeFrames, hearing
from regard.data.prepare import prepare
from regard.data.sound_augmentation import AUDIBLE, HIGH, MOST_MASKED, SLOPES, TRACK, SoundAugmenter
from regard.errors import ConfigError
from regard.features.audio import AudioProcessor

RATE = 16_000
SEES_ALL = Batching(batch_tokens=1, seed=3, shuffle=False, batch_rows=100)
TOO_LONG = "a recording longer than the 1 s that are heard at a time (data.audio_seconds, or the checkpoint's)"


def sound(seed, seconds=0.4):
    """Noise that 16 bits hold exactly."""
    return np.random.default_rng(seed).integers(-9000, 9000, int(seconds * RATE)).astype(np.int16)


def inline(samples):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


@pytest.fixture
def tape(tmp_path):
    """Recordings beside the file that lists them, in a directory of its own."""
    folder = tmp_path / "tape"
    (folder / "sounds").mkdir(parents=True)
    lines = []
    for number in range(4):
        soundfile.write(folder / "sounds" / f"{number}.flac", sound(number, 0.2 * (number + 1)), RATE)
        lines.append({"audio": f"sounds/{number}.flac", "text": f"number {number}"})
    lines.append({"audio": inline(sound(4)), "text": "within the data"})
    write(folder / "train.jsonl", lines)
    write(folder / "held.jsonl", [{"audio": inline(sound(5)), "text": "held out", "group": 7}])
    return folder


def run_of(tape, task="transcribe", **sections):
    data = {"train": [{"jsonl": str(tape / "train.jsonl")}], "validation": [{"jsonl": str(tape / "held.jsonl")}]}
    values = {"task": task, "data": {**data, "workers": 1, "audio_seconds": 1}, "training": {"steps": 1}}
    return parse_run({**values, "tokenizer": {"vocab_size": 300}, **sections})


def batch_of(prepared, run, how=SEES_ALL, split="train", epoch=0):
    batches = objective_of(run).of(prepared).batches(prepared.split(split), prepared.tokenizer, how)
    return next(batches.iterate(Position(epoch, 0)))[0]


def test_a_batch_holds_what_the_processor_makes_of_each_file_and_its_text(tape, tmp_path):
    run = run_of(tape)
    prepared = prepare(run, tmp_path / "data")
    batch = batch_of(prepared, run)
    sources = [*(tape / "sounds" / f"{number}.flac" for number in range(4)), opened(inline(sound(4)))]
    assert np.array_equal(batch["input_features"], hearing(1)(sources))
    texts = [prepared.tokenizer.decode(row[row >= 0].tolist()) for row in batch["labels"]]
    assert texts == [*(f"number {number}" for number in range(4)), "within the data"]
    assert all(row[row >= 0][-1] == prepared.tokenizer.eos_id for row in batch["labels"])
    assert prepared.processor == AudioProcessor.from_config(
        json.loads((tmp_path / "data" / "preprocessor_config.json").read_text())
    )
    assert prepared.processor.log_mel.chunk_length == 1
    assert prepared.split("validation").text(0)[1:] == ("held out", "7", "")


def test_the_texts_of_frames_have_no_end_token(tape, tmp_path):
    run = run_of(tape, "transcribe-ctc")
    prepared = prepare(run, tmp_path / "data")
    labels = batch_of(prepared, run)["labels"]
    assert not (labels == prepared.tokenizer.eos_id).any()
    assert prepared.tokenizer.decode(labels[4][labels[4] >= 0].tolist()) == "within the data"


def test_what_cannot_be_learned_from_is_dropped_with_its_reason_and_counted(tape, tmp_path):
    good = [json.loads(line) for line in (tape / "train.jsonl").read_text().splitlines()]
    (tape / "broken.wav").write_bytes(b"RIFF....WAVEfmt but no more")
    soundfile.write(tape / "long.wav", sound(6, 1.01), RATE)
    bad = [
        {"audio": "none.wav", "text": "missing"},
        {"audio": "broken.wav", "text": "broken"},
        {"audio": "data:audio/wav,raw", "text": "no base64"},
        {"audio": "long.wav", "text": "too long"},
        {"audio": "sounds/0.flac", "text": "  "},
        {"audio": "sounds/0.flac", "text": "much to say " * 60},
        {"text": "no recording"},
    ]
    write(tape / "train.jsonl", [*good, *bad])
    found = prepare(run_of(tape), tmp_path / "data").manifest["splits"]["train"]
    assert (found["pairs"], sum(found["dropped"]["counts"].values())) == (5, len(bad))
    counts = found["dropped"]["counts"]
    assert counts["a recording that cannot be read (it is no file)"] == 1
    assert counts[TOO_LONG] == 1
    assert counts["a text longer than data.max_tokens = 128"] == 1
    assert counts['"text" is empty'] == 1
    assert any(reason.startswith("a recording that cannot be read (it is damaged") for reason in counts)


@pytest.mark.parametrize("seconds", [1, 3])
@pytest.mark.parametrize("frame_ms", [5, 10, 20, 25])
def test_frames_come_as_often_as_is_asked_for(frame_ms, seconds):
    processor = hearing(seconds, frame_ms)
    frames = 1000 * seconds // frame_ms
    assert processor.log_mel.window_frames == frames
    second = np.sin(np.arange(16_000) * 0.1).astype(np.float32)
    assert processor.features(second).shape == (frames, 80)
    assert hearing(seconds, 10) == hearing(seconds)


def test_a_run_hears_and_keeps_the_frames_that_it_asks_for(tape, tmp_path):
    run = run_of(tape)
    coarse = run.model_copy(update={"data": run.data.model_copy(update={"frame_ms": 20})})
    prepared = prepare(coarse, tmp_path / "data")
    assert prepared.processor.log_mel == hearing(1, 20).log_mel
    assert batch_of(prepared, coarse)["input_features"].shape[1] == 50
    with pytest.raises(ConfigError, match="an even number of frames, but make 333"):
        hearing(1, 3)


@pytest.mark.parametrize("row_count", [1, 2, 8])
def test_a_batch_has_recordings_of_one_length_each_padded_by_its_own(tape, tmp_path, row_count):
    run = run_of(tape, "transcribe-ctc", data={**run_of(tape).data.model_dump(), "pad_to_multiple_ms": 240})
    prepared = prepare(run, tmp_path / "data")
    shards, objective = prepared.split("train"), objective_of(run).of(prepared)
    batches = objective.batches(shards, prepared.tokenizer, SEES_ALL._replace(shuffle=True, batch_rows=row_count))
    seen = {}
    for rows, batch in zip(batches.rows(0), batches.epoch(0), strict=True):
        assert len(rows) <= row_count
        seen |= zip(rows, batch["input_features"], strict=True)
    sources = [*(tape / "sounds" / f"{number}.flac" for number in range(4)), opened(inline(sound(4)))]
    assert [len(seen[row]) for row in range(5)] == [24, 48, 72, 96, 48], "of 0.2, 0.4, 0.6, 0.8 and 0.4 s"
    for row, source in enumerate(sources):
        assert np.array_equal(seen[row], prepared.processor(source)[0])


def test_silence_goes_to_whole_places_and_is_for_models_without_a_decoder(tape):
    with pytest.raises(ConfigError, match=r"pad_to_multiple_ms must be a multiple of 40, two frames .* but is 100"):
        hearing(1, 20, 100)
    assert hearing(1, 20, 120).pad_to_multiple_of == 1920
    with pytest.raises(ConfigError, match=r"data\.pad_to_multiple_ms"):
        run_of(tape, "transcribe", data={**run_of(tape).data.model_dump(), "pad_to_multiple_ms": 240})


def test_equal_tokens_need_a_place_more_between_them():
    objective = TranscribeFrames(200, hearing(1), AugmentationConfig())
    assert objective.misfit([1, 2] * 25, RATE) is None
    assert objective.misfit([1] * 25, RATE) is None
    for ids in ([1, 2] * 25 + [1], [1] * 26):
        assert "a text of more tokens than its window's 50 places" in objective.misfit(ids, RATE)
        assert objective.misfit(ids, RATE + 1) == TOO_LONG
    shorter = TranscribeFrames(200, hearing(1, 10, 240), AugmentationConfig())
    assert shorter.misfit([1, 2] * 6, RATE // 5) is None
    assert "its window's 12 places" in shorter.misfit([1, 2] * 6 + [1], RATE // 5)
    assert objective.objection([]) == "a text without a token"


def test_what_becomes_of_a_recording_hangs_on_seed_epoch_and_row_alone(tape, tmp_path):
    run = run_of(tape, augmentation={"level": 6.0, "room": 0.5, "noise": 0.5, "band": 0.5, "time_masks": 2})
    prepared = prepare(run, tmp_path / "data")
    varied = SEES_ALL._replace(varied=True)
    first, again, later = (batch_of(prepared, run, varied, epoch=epoch)["input_features"] for epoch in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, later)
    apart = (
        objective_of(run)
        .of(prepared)
        .batches(prepared.split("train"), prepared.tokenizer, varied._replace(batch_rows=1))
    )
    assert np.array_equal([batch["input_features"][0] for batch, _ in islice(apart.iterate(), 5)], first)
    assert all(one.any() for one in first - batch_of(prepared, run, varied._replace(seed=4))["input_features"])
    assert np.array_equal(batch_of(prepared, run)["input_features"], batch_of(prepared, run_of(tape))["input_features"])


def augmenter(**config):
    return SoundAugmenter(AugmentationConfig(**config), hearing(1).log_mel, 0)


def heard(samples, example, **config):
    vary = augmenter(**config)
    return vary.heard(samples, vary.chances(np.array([example]), 0)[0])


def test_noise_room_and_band_do_what_they_say():
    samples = sound(0, 0.9).astype(np.float32) / 2**15
    assert np.array_equal(heard(samples, 0), samples)
    for example in range(8):
        louder = heard(samples, example, level=6.0)[samples != 0] / samples[samples != 0]
        assert np.ptp(louder) < 1e-6
        assert 0.5 < louder.mean() < 2
        hissing = heard(samples, example, noise=1.0) - samples
        ratio = 10 * np.log10(np.sum(samples**2) / np.sum(hissing**2))
        assert 4 < ratio < 31
        power = np.abs(np.fft.rfft(heard(samples, example, band=1.0))) ** 2
        assert power[int(HIGH[1] * 0.9) + 100 :].mean() < 1e-2 * power[500:2500].mean()
    impulse = np.zeros(8000, np.float32)
    impulse[0] = 1
    echoing = heard(impulse, 0, room=1.0)
    assert np.argmax(np.abs(echoing)) == 0
    assert np.abs(echoing[1:800]).mean() > 10 * np.abs(echoing[5600:6400]).mean() > 0
    last = heard(impulse[::-1], 0, room=1.0)
    assert np.abs(last[:-1]).max() < 1e-5, "the echo of the end does not come back at the beginning"
    assert np.abs(last[-1]) > 0.5


def test_a_rooms_echoes_are_as_loud_and_as_long_as_was_drawn():
    vary, impulse = augmenter(room=1.0), np.zeros(RATE, np.float32)
    impulse[0] = 1
    for decay, echo in ((0, 0), (0, 1), (1, 0), (1, 1 - 2**-53)):
        found = vary.heard(impulse, np.array([0.5, 0, decay, echo, 0.3, 1, 0, 0, 0, 1, 0, 0])).astype(float)
        power = found**2
        assert power.sum() == pytest.approx(1, abs=1e-4)
        assert 10 * np.log10(power[1:].sum() / power[0]) == pytest.approx(-12 + 12 * echo, abs=0.01)
        slope = np.log10(power[1:801].sum() / power[801:1601].sum()) * 10 / 0.05  # decibels a second
        assert slope == pytest.approx(60 / (0.1 + 0.4 * decay), rel=0.15)


def test_a_band_holds_what_was_drawn_of_sound_and_noise():
    vary, samples = augmenter(noise=1.0, band=1.0), sound(0, 0.9).astype(np.float32) / 2**15
    for low, high in ((0, 0), (1 - 2**-53, 1 - 2**-53)):
        chances = np.array([0.5, 1, 0, 0, 0, 0, 0, 0, 0.3, 0, low, high])
        power = np.abs(np.fft.rfft(vary.heard(samples, chances).astype(float))) ** 2
        hz = np.fft.rfftfreq(len(samples), 1 / RATE)
        inside = (hz > 50 + 250 * low + 30) & (hz < 3000 + 4000 * high - 30)
        outside = (hz < 50 + 250 * low - 30) | (hz > 3000 + 4000 * high + 30)
        assert power[outside].mean() < 1e-3 * power[inside].mean()


def test_each_recording_has_a_noise_of_its_own():
    vary, silence = augmenter(noise=0.3), np.full(RATE, 1e-3, np.float32)
    chances = vary.chances(np.arange(400), 0)
    hisses = np.array([vary.heard(silence, each) - silence for each in chances])
    there = hisses[hisses.any(axis=1)]
    assert 0.2 < len(there) / 400 < 0.4
    assert np.abs(np.corrcoef(there) - np.eye(len(there))).max() < 0.7
    steps = np.square(np.diff(there)).mean(1) / np.square(there).mean(1)
    assert steps.max() > 1.5, "white"
    assert steps.min() < 0.6, "pink"


def test_a_noise_is_as_coloured_as_its_slope_and_goes_round_without_a_seam():
    vary = augmenter()
    track = vary._noises().astype(float)
    power = np.abs(np.fft.rfft(track)) ** 2
    hz = np.fft.rfftfreq(TRACK, 1 / RATE)
    octaves = [power[:, (hz >= low) & (hz < 2 * low)].mean(1) for low in (250, 4000)]
    assert np.allclose(np.log2(octaves[0] / octaves[1]) / 4, SLOPES, atol=0.05)
    assert power[:, hz < AUDIBLE * 0.99].max() < 1e-6 * power.max()
    vary = augmenter(noise=1.0)
    assert np.array_equal(vary._cut(3, 1 - 1 / TRACK, 3), track[3, [-1, 0, 1]].astype(np.float32))
    seam = np.diff(vary._cut(8, 1 - 8 / TRACK, 16))
    assert np.abs(seam).max() < 6 * np.diff(track[8]).std()
    assert (
        len(vary.heard(np.ones(2 * TRACK, np.float32), np.array([0.5, 1, 0, 0, 0, 0, 0, 0.9, 0.9, 1, 0, 0])))
        == 2 * TRACK
    )


def test_masks_are_bands_and_stretches_at_the_mean_within_the_recording():
    rng = np.random.default_rng(0)
    config = {"frequency_masks": 1, "frequency_mask": 10, "time_masks": 1, "time_mask": 50}
    widths = []
    for example in range(200):
        features = rng.normal(size=(100, 80)).astype(np.float32)
        chances = augmenter(**config).chances(np.array([example]), 0)[0]
        masked = augmenter(**config).masked(features.copy(), 60 * 160, chances)
        changed = masked != features
        assert np.allclose(masked[changed], features[:60].mean(), atol=1e-6)
        assert not changed[60:].any()
        bands, stretches = np.flatnonzero(changed[:60].all(axis=0)), np.flatnonzero(changed.all(axis=1))
        assert np.array_equal(changed[:60], changed[:60].all(axis=0)[None] | changed[:60].all(axis=1)[:, None])
        for found in (bands, stretches):
            assert len(found) == 0 or np.ptp(found) == len(found) - 1
        widths.append((len(bands), len(stretches)))
    assert tuple(np.max(widths, axis=0)) == (10, int(MOST_MASKED * 60))
    assert tuple(np.min(widths, axis=0)) == (0, 0)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"data": {"train": [{"jsonl": "x"}]}}, "data.audio_seconds is missing"),
        ({"augmentation": {"erase": 0.5}}, "augmentation.erase is for classify-image, caption, but task is"),
        ({"training": {"steps": 1, "batch_images": 4}}, "training.batch_images is for classify-image, caption"),
    ],
)
def test_keys_that_do_not_fit_recordings_are_refused_by_name(tape, sections, words):
    with pytest.raises(ConfigError, match=words):
        run_of(tape, **sections)
