"""Reading recordings: every source gives the same samples, and hostile files give an error that names them."""

import contextlib
import io
import math

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import InputError
from regard.features.samples import read_audio

WAV = {"format": "WAV", "subtype": "PCM_16"}


def noise(samples: int, channels: int = 0) -> np.ndarray:
    shape = (samples, channels) if channels else samples
    return np.random.default_rng(samples).uniform(-0.5, 0.5, shape).astype(np.float32)


def file_of(samples: np.ndarray, rate: int, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **(options or WAV))
    return file.getvalue()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"format": "WAV", "subtype": "FLOAT"}, 0),
        ({"format": "WAV", "subtype": "PCM_16"}, 2**-15),
        ({"format": "WAV", "subtype": "PCM_U8"}, 2**-7),
        ({"format": "RF64", "subtype": "PCM_24"}, 2**-23),
        ({"format": "FLAC", "subtype": "PCM_16"}, 2**-15),
        ({"format": "OGG", "subtype": "VORBIS"}, 0.05),
        ({"format": "MP3", "subtype": "MPEG_LAYER_III"}, 0.05),
    ],
)
def test_each_format_is_read_by_its_content(options, error, tmp_path):
    time = np.arange(16_000) / 16_000
    sound = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    path = tmp_path / "misnamed.txt"
    path.write_bytes(file_of(sound, 16_000, **options))
    found = read_audio(path, 16_000)
    assert found.dtype == np.float32
    assert np.abs(found - sound).max() <= error
    assert np.array_equal(read_audio(path.read_bytes(), 16_000), found)


@given(st.integers(1, 4000), st.sampled_from([8000, 11_025, 16_000, 44_100, 48_000]), st.integers(1, 3))
def test_a_file_and_an_array_give_the_same_samples_however_they_are_cut_into_blocks(count, rate, channels):
    sound = noise(count, channels)
    content = file_of(sound, rate, format="WAV", subtype="FLOAT")
    from_array = read_audio((sound, rate), 16_000)
    assert len(from_array) == math.ceil(count * 16_000 / rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regard.features.samples._BLOCK", 700)
        np.testing.assert_allclose(read_audio(content, 16_000), from_array, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_resampling_keeps_a_tone_and_averages_the_channels(rate):
    def tone(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    stereo = np.stack([0.75 * tone(rate), -0.25 * tone(rate)], axis=1)
    found = read_audio((stereo, rate), 16_000)
    np.testing.assert_allclose(found[500:-500], 0.25 * tone(16_000)[500:-500], atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "silence", "full"), [("int16", 0, 2**15), ("int32", 0, 2**31), ("uint8", 128, 2**7), ("float64", 0, 1)]
)
def test_integers_are_scaled_to_between_minus_1_and_1(dtype, silence, full):
    wave = np.array([-1, -0.5, 0, 0.5])
    found = read_audio(((wave * full + silence).astype(dtype), 16_000), 16_000)
    assert found.dtype == np.float32
    assert np.array_equal(found, wave)


@pytest.mark.parametrize(
    ("array", "rate", "told"),
    [
        (np.zeros(0), 16_000, "empty"),
        (np.zeros((0, 2)), 16_000, "empty"),
        (np.zeros((4, 4, 4)), 16_000, r"must have shape .* \(4, 4, 4\)"),
        (np.zeros((2, 16_000)), 16_000, r"must have shape .* \(2, 16000\)"),
        (np.array(1.0), 16_000, "must have shape"),
        (np.zeros(4, bool), 16_000, "must be of floats, uint8, int16, int32"),
        (np.zeros(4, complex), 16_000, "must be of floats"),
        (np.array([0, np.nan]), 16_000, "must be finite"),
        (np.array([0, np.inf]), 8000, "must be finite"),
        (np.array([0, 1e300]), 8000, "must be finite"),
        (np.zeros(4), 999, "1,000 to 768,000 samples a second, but has 999"),
        (np.zeros(4), 8000.5, "samples a second"),
        (np.zeros(4), math.nan, "samples a second"),
        (np.zeros(16_001), 16_000, r"at most 1 seconds \(max_seconds\)"),
    ],
)
def test_an_array_that_is_no_recording_is_refused(array, rate, told):
    with pytest.raises(InputError, match=told):
        read_audio((array, rate), 16_000, max_seconds=1)


def test_a_path_that_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "missing.wav", "a\0b", "\ud800", "n" * 300):
        with pytest.raises(InputError, match="it is no file"):
            read_audio(path, 16_000)
    with pytest.raises(InputError, match="it is a directory: name the files in it"):
        read_audio(tmp_path, 16_000)


AIFF = file_of(noise(99), 8000, format="AIFF", subtype="PCM_16")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"RIFF\0\0\0\0AVI LIST", AIFF, b"ID3\3\0\0\0\0\0\4" + bytes(4) + AIFF]
)
def test_what_is_none_of_the_named_formats_is_refused(content):
    with pytest.raises(InputError, match="none of WAV, WAVEX, RF64, FLAC, OGG, MP3"):
        read_audio(content, 16_000)


@pytest.mark.parametrize("kind", ["WAV", "RF64", "FLAC"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_a_truncated_file_is_refused_by_name(kind, share, tmp_path):
    whole = file_of(noise(60_000), 16_000, format=kind, subtype="PCM_16")
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=str(path)):
        read_audio(path, 16_000)


def test_a_truncated_mp3_is_reported(caplog):
    whole = file_of(noise(60_000), 16_000, format="MP3", subtype="MPEG_LAYER_III")
    with caplog.at_level("WARNING"):
        assert 20_000 < len(read_audio(whole[: len(whole) // 2], 16_000)) < 40_000
    assert "is cut" in caplog.text


def test_an_mp3_with_a_tag_is_read_as_one_without():
    content = file_of(noise(20_000), 16_000, format="MP3", subtype="MPEG_LAYER_III")
    tagged = b"ID3\4\0\0\0\0\0\x40" + bytes(64) + content
    assert np.array_equal(read_audio(tagged, 16_000), read_audio(content, 16_000))


@pytest.mark.parametrize("neighbour", ["._", "._a.mp3", ".AppleDouble"])
def test_an_mp3_is_none_the_worse_for_files_that_a_macintosh_leaves_beside_it(neighbour, tmp_path, monkeypatch):
    path = tmp_path / "a.mp3"
    path.write_bytes(file_of(noise(20_000), 16_000, format="MP3", subtype="MPEG_LAYER_III"))
    expected = read_audio(path, 16_000)
    monkeypatch.chdir(tmp_path)
    (tmp_path / neighbour).write_bytes(b"whatever")
    assert len(expected) == 20_000
    assert np.array_equal(read_audio(path, 16_000), expected)
    assert np.array_equal(read_audio(path.read_bytes(), 16_000), expected)


def wav_with(offset: int, value: int, count: int = 1000) -> bytes:
    content = bytearray(file_of(noise(count), 16_000))
    content[offset : offset + 4] = value.to_bytes(4, "little")
    return bytes(content)


def test_a_wav_from_a_pipe_which_does_not_know_its_length_is_read():
    assert len(read_audio(wav_with(40, 0xFFFFFFFF), 16_000)) == 1000


def test_a_header_is_believed_in_no_excess(monkeypatch):
    with pytest.raises(InputError, match="samples a second, but has 4294967"):
        read_audio(wav_with(24, 4_294_967), 16_000)
    with pytest.raises(InputError, match=r"at most 0\.5 seconds"):
        read_audio(wav_with(24, 1000, 501), 16_000, max_seconds=0.5)
    with pytest.raises(InputError, match="at most 64 channels, but has 65"):
        read_audio(file_of(noise(10, 65), 16_000), 16_000)
    monkeypatch.setattr(soundfile.SoundFile, "frames", property(lambda self: 2**62), raising=False)
    monkeypatch.setattr(soundfile.SoundFile, "read", None)  # not even tried
    with pytest.raises(InputError, match="at most 14400 seconds"):
        read_audio(wav_with(40, 2000), 16_000)


def test_a_flac_that_does_not_say_its_length_is_refused():
    content = bytearray(file_of(noise(5000), 16_000, format="FLAC", subtype="PCM_16"))
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
    with pytest.raises(InputError, match="does not say how long it is"):
        read_audio(bytes(content), 16_000)


def test_a_file_that_is_empty_or_not_finite_is_refused():
    with pytest.raises(InputError, match="empty"):
        read_audio(file_of(noise(1)[:0], 16_000), 16_000)
    with pytest.raises(InputError, match="must be finite"):
        read_audio(file_of(np.array([0, np.nan]), 16_000, format="WAV", subtype="FLOAT"), 16_000)


@given(st.sampled_from(["WAV", "FLAC", "OGG", "RF64"]), st.data())
def test_a_damaged_file_gives_samples_or_an_input_error(kind, data):
    content = bytearray(file_of(noise(3000), 16_000, format=kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        assert np.isfinite(read_audio(bytes(content), 16_000, max_seconds=60)).all()
