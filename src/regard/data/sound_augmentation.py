"""Training recordings varied by chance: loudness, room, noise and band before the features are made, SpecAugment's
masks after. What becomes of one depends on (seed, epoch, example) alone, so that a run which was stopped goes on with
the same."""

import math

import numpy as np
from numpy.typing import NDArray

from regard.config import AugmentationConfig
from regard.data.noise import noise, shares
from regard.features.mel import LogMel
from regard.features.samples import Samples

DECAY = (0.1, 0.5)  # seconds until an echo is 60 decibels lower
ECHO = (-12.0, 0.0)  # decibels of all echoes against the sound itself
TAIL = 0.4  # seconds of echo that are heard
SIGNAL_TO_NOISE = (5.0, 30.0)  # decibels
SLOPES = np.linspace(0, 1, 9)  # a noise's power falls with one of these powers of the frequency: white to pink
AUDIBLE = 20.0  # hz, from which on there is noise
TRACK = 2**18  # samples after which a noise begins again
LOW, HIGH = (50.0, 300.0), (3000.0, 7000.0)  # hz: what a band begins and ends with
MOST_MASKED = 0.2  # of a recording's frames, by one mask (Park et al. 2019, p)
_BLOCK = 4096  # a transform's size is a multiple of it
_EXAMPLES, _TRACKS = range(2)  # streams of noise
_CHANCES = 12  # of an example, but for its masks'

Chances = NDArray[np.float64]  # numbers in [0, 1)


class SoundAugmenter:
    """`heard` varies samples, `masked` the features that are made of them, both by what `chances` drew."""

    def __init__(self, config: AugmentationConfig, log_mel: LogMel, seed: int) -> None:
        self._config, self._log_mel, self._seed = config, log_mel, seed
        self._tracks = self._noises() if config.room or config.noise else None

    def chances(self, examples: NDArray[np.integer], epoch: int) -> Chances:
        """Of the examples (R,): (R, W)."""
        masks = self._config.frequency_masks + self._config.time_masks
        return shares(noise(self._seed, epoch, examples, _CHANCES + 2 * masks, _EXAMPLES))

    def heard(self, samples: Samples, chances: Chances) -> Samples:
        """(samples,) -> as many: another loudness; echoes, then noise, then a band, each for its share of examples."""
        config = self._config
        level, *rest = chances[:_CHANCES].tolist()
        (room, *shape), (hiss, *kind), (band, low, high) = rest[:4], rest[4:8], rest[8:]
        samples = samples * np.float32(_decibels(config.level * (2 * level - 1)))
        if room < config.room:
            samples = self._echoing(samples, *shape)
        if hiss < config.noise:
            samples = samples + self._noise(samples, *kind)
        if band < config.band:
            samples = self._banded(samples, _between(LOW, low), _between(HIGH, high))
        return samples

    def masked(self, features: NDArray[np.float32], samples: int, chances: Chances) -> NDArray[np.float32]:
        """(A, M), of so many samples and silence behind -> the same with bands of mels and stretches of frames at the
        mean (SpecAugment, Park et al. 2019, section 2, without its warping)."""
        config, frames = self._config, min(-(-samples // self._log_mel.hop_length), len(features))
        mels, mean = features.shape[1], features[:frames].mean()
        longest = min(config.time_mask, int(MOST_MASKED * frames))
        drawn = chances[_CHANCES:].reshape(-1, 2).tolist()
        for width, start in drawn[: config.frequency_masks]:
            first, last = _stretch(width, start, min(config.frequency_mask, mels), mels)
            features[:frames, first:last] = mean
        for width, start in drawn[config.frequency_masks :]:
            first, last = _stretch(width, start, longest, frames)
            features[first:last] = mean
        return features

    def _echoing(self, samples: Samples, decay: float, echo: float, place: float) -> Samples:
        """In a simple room, whose response is the sound itself and noise that dies away: together as loud as the sound
        alone."""
        size, tail = self._size(samples), self._tail - 1
        seconds = np.arange(1, tail + 1) / self._log_mel.sampling_rate
        echoes = self._cut(0, place, tail) * 10 ** (-3 * seconds / _between(DECAY, decay))
        echoes *= _decibels(_between(ECHO, echo)) / np.sqrt(np.sum(echoes**2))
        response = np.concatenate([[1.0], echoes])
        response /= np.sqrt(np.sum(response**2))
        return _waves(_spectrum(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]

    def _noise(self, samples: Samples, ratio: float, slope: float, place: float) -> Samples:
        """As many samples of a noise, from some place on, so much below those."""
        hiss = self._cut(int(slope * len(SLOPES)), place, len(samples))
        power, own = (np.sum(each * each) for each in (samples, hiss))
        return hiss * np.float32(np.sqrt(power / own) * _decibels(-_between(SIGNAL_TO_NOISE, ratio)))

    def _banded(self, samples: Samples, low: float, high: float) -> Samples:
        """What of it lies from `low` to `high` hz."""
        size = self._size(samples)
        spectrum, bins = _spectrum(samples, size), size / self._log_mel.sampling_rate  # bins a hz
        spectrum[: math.ceil(low * bins)] = 0
        spectrum[math.floor(high * bins) + 1 :] = 0
        return _waves(spectrum, size)[: len(samples)]

    def _cut(self, slope: int, place: float, length: int) -> Samples:
        """So many samples of the track with this slope, from a place on; behind its end it begins again, unheard."""
        assert self._tracks is not None  # where there is room or noise
        track, start = self._tracks[slope], int(place * TRACK)
        if start + length <= TRACK:
            return track[start : start + length]
        return np.take(track, np.arange(start, start + length), mode="wrap")

    def _noises(self) -> NDArray[np.float32]:
        """(SLOPES, TRACK): the run's noises. Drawn once, for to draw and to shape a recording's own takes longer than
        all else that is done to it."""
        white = np.fft.rfft(2 * shares(noise(self._seed, 0, np.zeros(1, int), TRACK, _TRACKS))[0] - 1)
        hz = np.fft.rfftfreq(TRACK, 1 / self._log_mel.sampling_rate)
        amplitudes = np.maximum(hz, AUDIBLE) ** (-SLOPES[:, None] / 2) * (hz >= AUDIBLE)
        return np.fft.irfft(white * amplitudes).astype(np.float32)

    @property
    def _tail(self) -> int:
        return int(TAIL * self._log_mel.sampling_rate)

    def _size(self, samples: Samples) -> int:
        """Of a transform in which the end's echo does not come back at the beginning."""
        return -(-(len(samples) + self._tail) // _BLOCK) * _BLOCK


def _spectrum(samples: Samples, size: int) -> NDArray[np.complex128]:
    return np.fft.rfft(samples.astype(np.float64), size)  # NumPy's of float32 takes half as long again


def _waves(spectrum: NDArray[np.complex128], size: int) -> Samples:
    """And back, in float32, of which NumPy's takes a third as long."""
    return np.fft.irfft(spectrum.astype(np.complex64), size).astype(np.float32, copy=False)


def _stretch(width: float, start: float, longest: int, length: int) -> tuple[int, int]:
    """Where a mask begins and ends: 0 to `longest` wide, anywhere within `length`."""
    wide = int(width * (longest + 1))
    first = int(start * (length - wide + 1))
    return first, first + wide


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + share * (bounds[1] - bounds[0])


def _decibels(value: float) -> float:
    """As a factor of the amplitude."""
    return float(10 ** (value / 20))
