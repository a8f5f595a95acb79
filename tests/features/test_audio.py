"""Log-mel features: equal to what Transformers gave, true to the definition, and safe from hostile files."""

import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import CheckpointError, ConfigError, InputError
from regard.features.audio import AudioProcessor, Recording
from regard.features.mel import LogMel, mel_filters

RECORDED = np.load(Path(__file__).with_name("processors.npz"))
CONFIGS = json.loads(str(RECORDED["configs"]))
SPEECH = RECORDED["sound"]  # int16

SMALL = LogMel(feature_size=12, sampling_rate=4000, hop_length=40, chunk_length=1, n_fft=100)  # 8 mels hear something
FULL = LogMel(feature_size=20, hop_length=100)


def noise(samples: int, channels: int = 0) -> np.ndarray:
    shape = (samples, channels) if channels else samples
    return np.random.default_rng(samples).uniform(-0.5, 0.5, shape).astype(np.float32)


def naive_log_mel(samples: np.ndarray, log_mel: LogMel) -> np.ndarray:
    """The definition, term by term: windowed frames, discrete Fourier sums, Slaney's triangles, logarithms."""
    width, half = log_mel.n_fft, log_mel.n_fft // 2
    extended = [*samples[half:0:-1], *samples, *samples[-2 : -2 - half : -1]]
    time = np.arange(width)
    window = np.sin(np.pi * time / width) ** 2
    frames = []
    count = (len(samples) - width % 2) // log_mel.hop_length
    for start in range(0, count * log_mel.hop_length, log_mel.hop_length):
        frame = window * np.array(extended[start : start + width], np.float64)
        sums = [np.sum(frame * np.exp(-2j * np.pi * k * time / width)) for k in range(half + 1)]
        power = np.abs(sums) ** 2
        frames.append([max(np.dot(column, power), 1e-10) for column in triangles(log_mel)])
    logs = np.log10(frames)
    return (np.maximum(logs, logs.max() - 8) + 4) / 4


def triangles(log_mel: LogMel) -> list[list[float]]:
    """One list of weights a mel: up to its centre and down again, of unit area in hz."""

    def hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(8, 6.4)  # 8000 hz
    edges = [hz(top * place / (log_mel.feature_size + 1)) for place in range(log_mel.feature_size + 2)]
    half = log_mel.n_fft // 2
    bins = [k * log_mel.sampling_rate / 2 / half for k in range(half + 1)]  # so even where n_fft is odd

    def weight(f: float, left: float, centre: float, right: float) -> float:
        inside = (f - left) / (centre - left) if f < centre else (right - f) / (right - centre)
        return 2 / (right - left) * max(inside, 0)

    return [[weight(f, *edges[m : m + 3]) for f in bins] for m in range(log_mel.feature_size)]


def test_features_equal_those_of_transformers():
    features = AudioProcessor.from_config(CONFIGS["whisper"])((SPEECH, 16_000))
    assert features.shape == (1, 3000, 80)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[0, CONFIGS["kept"]], RECORDED["audio/kept_frames"], rtol=0, atol=3e-5)
    small = AudioProcessor.from_config(CONFIGS["small_whisper"])
    first_second = small((SPEECH, 8000))[0]
    np.testing.assert_allclose(first_second, RECORDED["audio/first_second"], rtol=0, atol=3e-5)


def test_the_windows_of_a_long_recording_are_cut_from_what_transformers_gives_for_all_of_it():
    small = AudioProcessor.from_config(CONFIGS["small_whisper"])
    whole = RECORDED["audio/all_of_it"]
    recording = small.recording((SPEECH[:13_370], 8000))
    assert (recording.frames, recording.seconds) == (len(whole), len(whole) * 50 / 8000)
    for second, start, real in ((0, 0, 160), (0.25, 40, 160), (1, 160, len(whole) - 160)):
        window = recording.features_from(second)
        assert (window.start_seconds, window.real_frames) == (second, real)
        np.testing.assert_allclose(window.features[:real], whole[start : start + real], rtol=0, atol=3e-5)
        assert window.features.shape == (160, 20)
        assert not window.features[real:].any()


@pytest.mark.parametrize("samples", [64, 80, 333, 2000])
@pytest.mark.parametrize(
    "log_mel",
    [
        *(SMALL, LogMel(5, 16_000, 30, 1, 64), LogMel(9, 22_050, 40, 1, 75)),
        *(LogMel(16, 8000, 60, 1, 50), LogMel(17, 16_000, 7, 1, 100), LogMel(33, 16_000, 40, 1, 100)),
        LogMel(80, 4000, 40, 1, 100),  # whose last filters lie above all that there is
    ],
    ids=str,
)
def test_features_equal_the_definition(samples, log_mel):
    sound = noise(samples) * np.linspace(1, 1e-3, samples, dtype=np.float32)
    np.testing.assert_allclose(log_mel(sound), naive_log_mel(sound, log_mel), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mels", [20, 80, 128])
def test_each_mel_filter_has_unit_area_and_its_neighbours_overlap(mels):
    filters = mel_filters(8001, mels, 16_000)  # one a hz
    np.testing.assert_allclose(filters.sum(axis=0), 1, rtol=2e-3)
    peaks = filters.argmax(axis=0)
    assert (np.diff(peaks) > 0).all()
    assert (filters[:, 1:] * filters[:, :-1]).any(axis=0).all()
    below = peaks[peaks < 1000]
    np.testing.assert_allclose(np.diff(below), below[0], atol=1)  # even steps below 1000 hz


@pytest.mark.parametrize("hz", [150, 440, 1000, 2500, 5000])
def test_a_pure_tone_is_loudest_in_the_mel_that_holds_it(hz):
    tone = np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32)
    loudest = LogMel()(tone)[10:-10].mean(axis=0).argmax()
    weights = mel_filters(16_001, 80, 16_000)[2 * hz]
    assert abs(loudest - weights.argmax()) <= 1
    assert weights[loudest] > 0


@given(st.floats(0.01, 1))
def test_ten_times_the_sound_is_two_decades_of_power(gain):
    sound = noise(8000)
    shift = np.log10(gain) * 2 / 4
    np.testing.assert_allclose(FULL(sound * np.float32(gain)), FULL(sound) + shift, rtol=0, atol=1e-5)


@given(st.integers(1, 60))
def test_a_shift_by_a_hop_is_a_shift_by_a_frame(frames):
    sound = noise(12_000)
    whole, later = FULL(sound), FULL(sound[frames * 100 :])
    np.testing.assert_allclose(later[2:], whole[frames + 2 :], rtol=0, atol=1e-6)


@given(st.integers(51, 30_000))
def test_frames_are_counted_by_hops(samples):
    features = SMALL(noise(30_000)[:samples])
    assert len(features) == samples // 40
    assert np.isfinite(features).all()


def test_a_block_of_frames_ends_without_a_seam(monkeypatch):
    sound = noise(8000)
    whole = SMALL(sound)
    for block in (1, 7, 199):
        monkeypatch.setattr("regard.features.mel._BLOCK", block)
        np.testing.assert_allclose(SMALL(sound), whole, rtol=0, atol=1e-6)


def test_silence_is_defined():
    assert (SMALL(np.zeros(4000, np.float32)) == np.float32(-1.5)).all()  # log10(1e-10), moved to (x + 4) / 4


@given(st.integers(1, 4000))
def test_a_short_recording_is_padded_with_silence(samples):
    sound = noise(4000)[:samples]
    processor = AudioProcessor(SMALL)
    padded = SMALL(np.pad(sound, (0, 4000 - samples)))
    assert np.array_equal(processor((sound, 4000))[0], padded)
    window = processor.recording((sound, 4000)).features_from(0)
    assert np.array_equal(window.features, padded)
    assert window.real_frames == math.ceil(samples / 40)


@given(st.integers(1, 20_000), st.floats(0, 1, exclude_max=True))
def test_a_window_starts_where_it_is_asked_to_and_says_what_of_it_is_real(samples, share):
    recording = Recording(noise(20_000)[:samples], 4000, SMALL)
    window = recording.features_from(share * recording.seconds)
    start = round(window.start_seconds * 100)
    assert abs(window.start_seconds - share * recording.seconds) <= 0.01
    assert window.features.shape == (100, 12)
    assert window.real_frames == min(100, recording.frames - start)
    assert start + window.real_frames <= recording.frames


def test_windows_cover_a_recording_once():
    recording = Recording(noise(10_020), 4000, SMALL)
    windows = list(recording.windows())
    assert [window.start_seconds for window in windows] == [0, 1, 2]
    assert [window.real_frames for window in windows] == [100, 100, 50]
    joined = np.concatenate([window.features[: window.real_frames] for window in windows])
    assert np.array_equal(joined, SMALL(noise(10_020)))


@given(st.integers(1, 9_000), st.sampled_from([80, 400, 4_000, 4_080]))
def test_a_shorter_window_is_filled_to_the_multiple_of_its_own_length_and_is_the_beginning_of_the_whole_one(
    samples, multiple
):
    processor, whole = AudioProcessor(SMALL, pad_to_multiple_of=multiple), AudioProcessor(SMALL)
    sound = noise(9_000)[:samples]
    windows = list(processor.recording((sound, 4000)).windows())
    assert [len(window.features) for window in windows[:-1]] == [100] * (len(windows) - 1)
    heard = 40 * windows[-1].real_frames  # samples; of a long recording without a last hop that is not whole
    assert len(windows[-1].features) == min(math.ceil(heard / multiple) * multiple // 40, 100)
    assert 0 < windows[-1].real_frames <= len(windows[-1].features)
    theirs = list(whole.recording((sound, 4000)).windows())
    assert len(windows) == len(theirs)
    for ours, one in zip(windows, theirs, strict=True):
        equal = len(ours.features) if len(windows) > 1 else max(ours.real_frames - 2, 0)  # which see no end
        assert np.allclose(ours.features[:equal], one.features[:equal])
        assert (ours.start_seconds, ours.real_frames) == (one.start_seconds, one.real_frames)


def test_windows_of_several_sizes_are_no_batch():
    processor = AudioProcessor(SMALL, pad_to_multiple_of=400)
    assert processor([(noise(900), 4000), (noise(1_200), 4000)]).shape == (2, 30, 12)
    with pytest.raises(InputError, match="windows of 20 to 30 frames: pass those of one size together"):
        processor([(noise(800), 4000), (noise(1_200), 4000)])


def test_timestamps_of_whisper_name_a_frame_exactly():
    recording = Recording(noise(16_000 * 40), 16_000, LogMel(feature_size=1))
    for hundredths in range(0, 4000, 2):
        assert recording.features_from(hundredths / 100).start_seconds == hundredths / 100


def test_a_window_within_the_last_hop_is_of_the_last_frame():
    window = Recording(noise(10_000), 4000, SMALL).features_from(2.4999)
    assert (window.start_seconds, window.real_frames) == (2.49, 1)


@pytest.mark.parametrize("second", [-0.01, 2.5, 1e9, math.nan, math.inf])
def test_a_window_outside_the_recording_is_refused(second):
    with pytest.raises(InputError, match=r"0 to 2\.5 seconds"):
        Recording(noise(10_000), 4000, SMALL).features_from(second)


def test_a_batch_is_its_rows_and_what_is_too_long_is_cut_aloud(caplog):
    processor = AudioProcessor(SMALL)
    rows = [(noise(900), 4000), (noise(9000), 4000), (noise(1800, 2), 8000)]
    with caplog.at_level("WARNING"):
        batch = processor(rows)
    assert "recording 2 lasts 2.2 s: cut to 1 s" in caplog.text
    assert batch.shape == (3, 100, 12)
    assert np.array_equal(batch, np.concatenate([processor(row) for row in rows]))
    assert np.array_equal(batch[1], processor((noise(9000)[:4000], 4000))[0])


def test_an_array_without_its_rate_and_no_recordings_at_all_are_refused():
    for audio in (noise(100), [noise(100)]):
        with pytest.raises(InputError, match="needs its rate"):
            AudioProcessor()(audio)
    with pytest.raises(InputError, match="there are no recordings"):
        AudioProcessor()([])


def test_dither_is_small_and_the_same_each_time():
    sound = np.zeros(4000, np.float32)
    dithered = LogMel(**{**SMALL.__dict__, "dither": 1e-3})
    assert np.array_equal(dithered(sound), dithered(sound))
    power = 10 ** (dithered(sound).astype(np.float64) * 4 - 4)
    window = np.hanning(101)[:-1]
    expected = 1e-6 * (window**2).sum() * mel_filters(51, 12, 4000).sum(axis=0)  # a white noise's spectrum is flat
    heard = expected > 0
    np.testing.assert_allclose(power.mean(axis=0)[heard], expected[heard], rtol=0.5)


def test_memory_holds_the_features_and_a_block_whatever_the_length():
    sound = noise(16_000 * 120)
    LogMel()(sound[:16_000])
    tracemalloc.start()
    try:
        features = LogMel()(sound)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < features.nbytes + 3 * 2**20  # the spectra of all frames would take 39 MB


def test_a_config_comes_back_with_the_keys_that_it_does_not_know():
    odd = {"mel_filters": [[0.0]], "nb_max_frames": 7, "processor_class": "WhisperProcessor"}
    processor = AudioProcessor.from_config({**CONFIGS["small_whisper"], **odd})
    config = json.loads(json.dumps(processor.to_config()))
    assert config["processor_class"] == "WhisperProcessor"
    assert "mel_filters" not in config
    assert (config["n_samples"], config["nb_max_frames"]) == (8000, 160)
    assert AudioProcessor.from_config({"feature_extractor": config}).to_config() == config
    assert AudioProcessor.from_config({}).log_mel == LogMel()
    padded = AudioProcessor(pad_to_multiple_of=640)
    assert padded.to_config()["pad_to_multiple_of"] == 640
    assert AudioProcessor.from_config(padded.to_config()).pad_to_multiple_of == 640
    assert "pad_to_multiple_of" not in AudioProcessor().to_config(), "older data stay what they are"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "feature_extractor_type must be"),
        ({"feature_extractor": []}, "feature_extractor must be an object"),
        ({"padding_value": -1.0}, "padding_value must be 0"),
        ({"padding_side": "left"}, "padding_side must be 'right'"),
        ({"feature_size": 10**9}, "feature_size must be 1 to 1,024"),
        ({"feature_size": 80.0}, "feature_size must be a whole number"),
        ({"n_fft": 10**9}, "n_fft must be"),
        ({"hop_length": 0}, "hop_length must be"),
        ({"sampling_rate": -16_000}, "sampling_rate must be"),
        ({"chunk_length": 10**6}, "chunk_length must be"),
        ({"chunk_length": 600, "hop_length": 1}, "a window must have 1 to"),
        ({"sampling_rate": 1000, "chunk_length": 1, "hop_length": 1001}, "a window must have 1 to"),
        ({"pad_to_multiple_of": 480}, "pad_to_multiple_of must be a multiple of 320 samples above 200, but is 480"),
        ({"pad_to_multiple_of": -320}, "pad_to_multiple_of must be a multiple of 320"),
        ({"hop_length": 80, "pad_to_multiple_of": 160}, "a multiple of 160 samples above 200, but is 160"),
        ({"pad_to_multiple_of": "320"}, "pad_to_multiple_of must be a whole number"),
        ({"dither": -0.1}, "dither must be"),
        ({"dither": "much"}, "dither must be a number"),
    ],
)
def test_a_hostile_config_is_refused_by_name(config, told):
    with pytest.raises(CheckpointError, match=told):
        AudioProcessor.from_config(config)


def test_a_constructor_refuses_what_cannot_be_and_a_frame_what_does_not_fill_it():
    with pytest.raises(ConfigError, match="n_fft must be 2 to 8,192"):
        LogMel(n_fft=1)
    for samples in (0, 39, 50):
        with pytest.raises(InputError, match=f"must fill a frame of 100 samples, but has {samples}"):
            SMALL(noise(samples))
