"""Recordings of whatever source, format and rate -> mono samples at one rate: the header first, named formats only."""

import io
import logging
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from regard.errors import InputError, no_file

logger = logging.getLogger(__name__)

Samples = NDArray[np.float32]  # (samples,), within [-1, 1] where nothing clipped
Audio = str | os.PathLike[str] | bytes | tuple[NDArray[Any], int]  # a file, the bytes of one, or an array and its rate

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
MAX_SECONDS = 4 * 3600.0  # 922 MB of samples at 16 kHz
MAX_CHANNELS = 64
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # hz

# libsndfile knows forty formats by their first bytes; what is not named here never reaches its parsers, but for what
# stands behind an ID3 tag: so the format that it found is checked too.
_SIGNATURE = re.compile(rb"RIFF....WAVE|RF64....WAVE|fLaC|OggS|ID3|\xff[\xe0-\xff]", re.DOTALL)
# What its log says of a file whose header names more bytes than there are.
_CUT = re.compile(r"(?:data|Riff size)\s*: (\d+) \(should be (\d+)\)")
_UNKNOWN_BYTES = 0x7FFF0000  # from here on, the header of a stream that was written to a pipe
_UNKNOWN_FRAMES = 2**63 - 1  # the same, of a FLAC: libsndfile cannot read such a one in blocks
_INTEGERS = {"uint8": (128.0, 2.0**7), "int16": (0.0, 2.0**15), "int32": (0.0, 2.0**31)}  # silence, full scale
_BLOCK = 2**18  # samples of all channels that are decoded at a time: 1 MiB


def read_audio(source: Audio, sampling_rate: int, max_seconds: float = MAX_SECONDS) -> Samples:
    """The samples of a recording, float32: channels averaged, resampled to `sampling_rate` (hz) by soxr's HQ.

    The result is ceil(samples * sampling_rate / rate) long, as librosa and Transformers cut it. A file is decoded in
    blocks, so that no more than the result is held. An array has shape (samples,) or (samples, channels); integers are
    scaled to [-1, 1), floats are taken as they are, without a copy where none is needed.

    Raises InputError for what is no file, is damaged or cut (of an OGG stream nobody can tell), of none of FORMATS,
    empty, not finite, longer than `max_seconds`, or of a rate or a number of channels out of all reason.
    """
    if isinstance(source, tuple):
        return _from_array(np.asarray(source[0]), source[1], sampling_rate, max_seconds)
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), f"a recording of {len(source):,} bytes", sampling_rate, max_seconds)
    name = os.fspath(source)
    if not os.path.isfile(source):  # which asks of a name that is too long, too
        raise InputError(f"cannot read {name}: {no_file(source)}")
    try:
        with Path(source).open("rb") as file:
            return _read(file, name, sampling_rate, max_seconds)
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror}") from error


def _from_array(array: NDArray[Any], rate: int, sampling_rate: int, max_seconds: float) -> Samples:
    name = "an array of samples"
    rate = _checked_rate(rate, name)
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= MAX_CHANNELS):
        raise InputError(
            f"{name} must have shape (samples,) or (samples, 1 to {MAX_CHANNELS} channels), but has {array.shape}"
        )
    if array.size == 0:
        raise InputError(f"{name} is empty")
    _check_length(len(array), rate, max_seconds, name)
    samples = _scaled(array) if array.ndim == 1 else _averaged(_scaled(array))
    _check_finite(samples, name)
    if rate == sampling_rate:
        return samples
    resampled = np.zeros(_resampled_length(len(samples), rate, sampling_rate), np.float32)
    found = soxr.resample(samples, rate, sampling_rate, "HQ")[: len(resampled)]
    resampled[: len(found)] = found
    return resampled


def _averaged(samples: Samples) -> Samples:
    """(samples, channels) -> (samples,); channel by channel, for NumPy takes ten times as long along a short axis."""
    mean: Samples = np.ascontiguousarray(samples.T).mean(axis=0)
    return mean


def _scaled(array: NDArray[Any]) -> Samples:
    if np.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore"):  # what does not fit is infinite, and refused as such
            return array.astype(np.float32, copy=False)
    if array.dtype.name not in _INTEGERS:
        raise InputError(f"an array of samples must be of floats, {', '.join(_INTEGERS)}, but is of {array.dtype}")
    silence, full = _INTEGERS[array.dtype.name]
    return ((array - silence) / full).astype(np.float32)


class _Tagged:
    """An MP3 with an empty ID3 tag before it, by which libsndfile knows it for one.

    Where there is no tag, it first looks for an old Macintosh's resource fork, in files such as ._song.mp3 and
    .AppleDouble beside the recording, or in the working directory; and takes what it finds for the sound.
    """

    TAG = b"ID3\3\0\0\0\0\0\x20" + bytes(32)

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._place = file, 0

    def seek(self, offset: int, whence: int) -> int:
        if whence == os.SEEK_CUR:
            offset += self._place
        elif whence == os.SEEK_END:
            offset += self._file.seek(0, os.SEEK_END) + len(self.TAG)
        self._place = offset
        return offset

    def tell(self) -> int:
        return self._place

    def read(self, size: int) -> bytes:
        tag = self.TAG[self._place : self._place + size]
        self._file.seek(max(self._place - len(self.TAG), 0))
        content = tag + self._file.read(size - len(tag))
        self._place += len(content)
        return content


def _read(file: BinaryIO, name: str, sampling_rate: int, max_seconds: float) -> Samples:
    signature = _SIGNATURE.match(file.read(12))
    if not signature:
        raise InputError(f"cannot read {name}: it is none of {', '.join(FORMATS)}")
    file.seek(0)
    is_untagged_mp3 = signature[0][0] == 0xFF
    try:
        with soundfile.SoundFile(_Tagged(file) if is_untagged_mp3 else file) as sound:
            _check_header(sound, name)
            return _joined(sound, sampling_rate, max_seconds, name)
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error))
        raise InputError(f"cannot read {name}: it is damaged ({reason})") from error


def _check_header(sound: soundfile.SoundFile, name: str) -> None:
    if sound.format not in FORMATS:
        raise InputError(f"cannot read {name}: it is {sound.format}, and none of {', '.join(FORMATS)}")
    if sound.channels > MAX_CHANNELS:
        raise InputError(f"{name} must have at most {MAX_CHANNELS} channels, but has {sound.channels}")
    if sound.frames == _UNKNOWN_FRAMES:
        raise InputError(f"cannot read {name}: its header does not say how long it is: convert it anew, to a file")
    for stated, there in _CUT.findall(sound.extra_info):
        if int(there) < int(stated) < _UNKNOWN_BYTES:
            raise InputError(
                f"{name} is cut: {int(there):,} of {int(stated):,} bytes are there: convert it anew, or pass an array"
            )


def _blocks(sound: soundfile.SoundFile, name: str) -> Iterator[Samples]:
    """The file's mono samples, some seconds at a time; the end that its header names must come."""
    read = 0
    while len(block := sound.read(max(_BLOCK // sound.channels, 1), dtype="float32", always_2d=True)):
        read += len(block)
        yield _averaged(block)
    if read < sound.frames:
        message = f"{name} is cut: {read:,} of {sound.frames:,} samples are there"
        if sound.format != "MP3":
            raise InputError(f"{message}: convert it anew, or pass an array")
        logger.warning("%s, or its header is wrong", message)  # an MP3's header may only guess


def _joined(sound: soundfile.SoundFile, sampling_rate: int, max_seconds: float, name: str) -> Samples:
    """All of a file at the sampling rate. Its header says how long it is, and soundfile reads no further."""
    rate = _checked_rate(sound.samplerate, name)
    _check_length(sound.frames, rate, max_seconds, name)
    joined, read = bytearray(), 0  # grows in place: a list of blocks would be copied whole in the end
    stream = None if rate == sampling_rate else soxr.ResampleStream(rate, sampling_rate, 1, "float32", "HQ")
    for block in _blocks(sound, name):
        read += len(block)
        _check_finite(block, name)
        joined += (stream.resample_chunk(block) if stream else block).data
    if stream:
        joined += stream.resample_chunk(np.empty(0, np.float32), last=True).data
    if read == 0:
        raise InputError(f"{name} is empty: it has no samples")
    wanted = _resampled_length(read, rate, sampling_rate)
    joined += bytes(max(4 * wanted - len(joined), 0))
    return np.frombuffer(joined, np.float32, wanted)


def _resampled_length(samples: int, rate: int, sampling_rate: int) -> int:
    """Rounded up, as librosa rounds; soxr itself rounds to the nearest."""
    return math.ceil(samples * sampling_rate / rate)


def _check_finite(samples: Samples, name: str) -> None:
    if not np.isfinite(samples).all():
        raise InputError(f"{name} must be finite, but holds NaN or infinity")


def _checked_rate(rate: int, name: str) -> int:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or int(rate) != rate:
        raise InputError(f"{name} must have {LOWEST_RATE:,} to {HIGHEST_RATE:,} samples a second, but has {rate}")
    return int(rate)


def _check_length(samples: int, rate: int, max_seconds: float, name: str) -> None:
    if samples > max_seconds * rate:
        raise InputError(
            f"{name} must last at most {max_seconds:g} seconds (max_seconds), but lasts {samples / rate:,.1f}: cut it"
        )
