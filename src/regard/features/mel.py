"""Log-mel features (Radford et al. 2022, section 2.2; the filters of Slaney's Auditory Toolbox, 1998)."""

import functools
import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from regard.errors import ConfigError, InputError
from regard.features.samples import Samples

_HIGHEST = 8000.0  # hz, the last filter's end, whatever the rate
_KINK_HZ, _KINK_MEL = 1000.0, 15.0  # the mel scale is linear below, logarithmic above
_MELS_PER_E = 27 / math.log(6.4)
_SILENCE = 1e-10  # the least power
_RANGE = 8.0  # decades below the loudest that are kept
_BLOCK = 256  # frames whose spectra are held at a time: they stay in the cache
_BAND = 8  # filters that are applied at a time, to the bins that one of them hears: at Whisper's n_fft no product is
# worth BLAS's threads, which would wait for cores that training holds


@dataclass(frozen=True)
class LogMel:
    """The short-time spectra of a recording on the mel scale, as logarithms about [-1, 1].

    The fields bear the names of Whisper's preprocessor_config.json.
    """

    feature_size: int = 80  # mels
    sampling_rate: int = 16_000  # hz
    hop_length: int = 160  # samples from a frame to the next
    chunk_length: int = 30  # seconds that the model hears at a time
    n_fft: int = 400  # samples a frame looks at
    dither: float = 0.0  # standard deviation of noise that is added to the samples

    def __post_init__(self) -> None:
        bounds = {
            "feature_size": (1, 1024),
            "sampling_rate": (1_000, 192_000),
            "n_fft": (2, 8192),
            "hop_length": (1, 8192),
            "chunk_length": (1, 600),
            "dither": (0, 1),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name} must be {least:,} to {most:,}, but is {value}")
        most_frames = 2**26 // self.feature_size  # 256 MiB a window
        if not 0 < self.window_frames <= most_frames:
            raise ConfigError(f"a window must have 1 to {most_frames:,} frames, but has {self.window_frames:,}")

    @property
    def window_samples(self) -> int:
        """`n_samples` of the file."""
        return self.chunk_length * self.sampling_rate

    @property
    def window_frames(self) -> int:
        """`nb_max_frames` of the file, where n_fft is even."""
        return self.frames(self.window_samples)

    def frames(self, samples: int) -> int:
        """How many frames that many samples give: one a hop, without the last, which Whisper drops."""
        return (samples - self.n_fft % 2) // self.hop_length

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """(samples,) at `sampling_rate` -> (A, M) float32, for any length; the loudest of them all sets the scale.

        Frame a is centred on sample a * hop_length; the recording is reflected at both ends. The spectra are float64:
        float32's would err by 1e-5 instead of 1e-7 far below the loudest. Dither is the same noise each time.
        InputError where the samples do not fill a frame.
        """
        frames = self.frames(len(samples))
        if frames < 1 or len(samples) <= self.n_fft // 2:
            raise InputError(f"a recording must fill a frame of {self.n_fft} samples, but has {len(samples)}: pad it")
        if self.dither:
            noise = np.random.default_rng(0).standard_normal(len(samples), np.float32)
            samples = samples + np.float32(self.dither) * noise
        features = np.empty((frames, self.feature_size), np.float32)
        for start in range(0, frames, _BLOCK):
            stop = min(start + _BLOCK, frames)
            features[start:stop] = self._log_power(samples, start, stop)
        np.maximum(features, features.max() - np.float32(_RANGE), out=features)
        features += 4
        features /= 4
        return features

    def _log_power(self, samples: Samples, start: int, stop: int) -> NDArray[np.float64]:
        """The decimal logarithm of each mel's power, of the frames from `start` until `stop`."""
        first, bins = start * self.hop_length - self.n_fft // 2, 1 + self.n_fft // 2
        around = _reflected(samples, first, first + (stop - start - 1) * self.hop_length + self.n_fft)
        frames, spectra, power, found = _scratch.of(stop - start, self.n_fft, bins, self.feature_size)
        np.multiply(sliding_window_view(around, self.n_fft)[:: self.hop_length], _window(self.n_fft), out=frames)
        np.fft.rfft(frames, out=spectra)
        parts = spectra.view(np.float64)
        np.square(parts, out=parts)
        np.add(parts[:, ::2], parts[:, 1::2], out=power)
        for mels, heard, filters in _bands(bins, self.feature_size, self.sampling_rate):
            np.matmul(power[:, heard], filters, out=found[:, mels])
        np.maximum(found, _SILENCE, out=found)
        return np.log10(found, out=found)


class _Scratch(threading.local):
    """A thread's memory for a block of frames, kept: fresh memory costs more than the spectra do."""

    def __init__(self) -> None:
        self._sizes: tuple[int, ...] = ()
        self._arrays: list[NDArray[Any]] = []

    def of(self, frames: int, n_fft: int, bins: int, mels: int) -> list[NDArray[Any]]:
        """Of so many frames: what is seen of them, its spectra, the power of these, and that of the mels."""
        sizes = (n_fft, bins, mels)
        if sizes != self._sizes:
            shapes = ((n_fft, np.float64), (bins, np.complex128), (bins, np.float64), (mels, np.float64))
            self._sizes, self._arrays = sizes, [np.empty((_BLOCK, size), kind) for size, kind in shapes]
        return [array[:frames] for array in self._arrays]


_scratch = _Scratch()


@functools.lru_cache(maxsize=4)
def _window(size: int) -> NDArray[np.float64]:
    """Hann's, periodic."""
    window = np.hanning(size + 1)[:-1]
    window.flags.writeable = False
    return window


def _reflected(samples: Samples, first: int, last: int) -> Samples:
    """The samples from place `first` until `last`; before the recording and behind it, its own, backwards."""
    before, behind = max(0, -first), max(0, last - len(samples))
    within = samples[max(first, 0) : last]
    if not before and not behind:
        return within
    return np.concatenate([samples[before:0:-1], within, samples[-2 : -2 - behind : -1]])


@functools.lru_cache(maxsize=4)
def mel_filters(bins: int, mels: int, sampling_rate: int) -> NDArray[np.float64]:
    """(bins, mels): triangles of equal area, evenly spaced on Slaney's mel scale from 0 to 8000 hz; read only."""
    edges = _hz(np.linspace(0.0, _mel(_HIGHEST), mels + 2))
    hz = np.linspace(0, sampling_rate // 2, bins)[:, None]
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    filters = np.maximum(np.minimum(rising, falling), 0) * 2 / (edges[2:] - edges[:-2])
    filters.flags.writeable = False
    return filters


@functools.lru_cache(maxsize=4)
def _bands(bins: int, mels: int, sampling_rate: int) -> tuple[tuple[slice, slice, NDArray[np.float64]], ...]:
    """`mel_filters` in parts: which filters, the bins that they hear, and what they make of these."""
    filters, parts = mel_filters(bins, mels, sampling_rate), []
    for first in range(0, mels, _BAND):
        part = filters[:, first : first + _BAND]
        heard = np.flatnonzero(part.any(1))
        first_bin, last_bin = (int(heard[0]), int(heard[-1]) + 1) if len(heard) else (0, 1)  # a narrow one hears none
        within = slice(first_bin, last_bin)
        own = np.ascontiguousarray(part[within])
        own.flags.writeable = False
        parts.append((slice(first, first + _BAND), within, own))
    return tuple(parts)


def _mel(hz: float) -> float:
    return hz * _KINK_MEL / _KINK_HZ if hz < _KINK_HZ else _KINK_MEL + math.log(hz / _KINK_HZ) * _MELS_PER_E


def _hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = mels * _KINK_HZ / _KINK_MEL
    return np.where(mels < _KINK_MEL, linear, _KINK_HZ * np.exp((mels - _KINK_MEL) / _MELS_PER_E))
