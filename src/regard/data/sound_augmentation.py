"""Training recordings varied by chance: loudness, room, noise and band before the features are made, SpecAugment's
masks after. What becomes of one depends on (seed, epoch, example) alone, so that a run which was stopped goes on with
the same."""

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
SLOPE = (0.0, 1.0)  # the noise's power falls with this power of the frequency: white to pink
LOW, HIGH = (50.0, 300.0), (3000.0, 7000.0)  # hz: what a band begins and ends with
MOST_MASKED = 0.2  # of a recording's frames, by one mask (Park et al. 2019, p)
_BLOCK = 4096  # a transform's size is a multiple of it, and so quick
_LEVEL, _ROOM, _ECHO, _NOISE, _HISS, _BAND, _TIMES, _MELS = range(8)  # streams of noise

Draws = NDArray[np.float64]


class SoundAugmenter:
    """`heard` varies samples, `masked` the features that are made of them."""

    def __init__(self, config: AugmentationConfig, log_mel: LogMel, seed: int) -> None:
        self._config, self._log_mel, self._seed = config, log_mel, seed

    def heard(self, samples: Samples, example: int, epoch: int) -> Samples:
        """(samples,) -> as many: another loudness; echoes, then noise, then a band, each for its share of examples."""
        config = self._config
        level, (room, *shape), (hiss, ratio, slope), (band, low, high) = (
            self._draws(example, epoch, stream, width)
            for stream, width in ((_LEVEL, 1), (_ROOM, 3), (_NOISE, 3), (_BAND, 3))
        )
        samples = samples * np.float32(_decibels(config.level * (2 * level[0] - 1)))
        if room >= config.room and hiss >= config.noise and band >= config.band:
            return samples
        size = -(-(len(samples) + self._tail) // _BLOCK) * _BLOCK
        spectrum = np.fft.rfft(samples, size)
        if room < config.room:
            spectrum *= np.fft.rfft(self._response(shape, example, epoch), size)
        if hiss < config.noise:
            spectrum += self._noise(spectrum, len(samples), (ratio, slope), example, epoch)
        if band < config.band:
            hz = np.fft.rfftfreq(size, 1 / self._log_mel.sampling_rate)
            spectrum[(hz < _between(LOW, low)) | (hz > _between(HIGH, high))] = 0
        return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)

    def masked(self, features: NDArray[np.float32], samples: int, example: int, epoch: int) -> NDArray[np.float32]:
        """(A, M), of so many samples and silence behind -> the same with bands of mels and stretches of frames at the
        mean (SpecAugment, Park et al. 2019, section 2, without its warping)."""
        config, frames = self._config, min(-(-samples // self._log_mel.hop_length), len(features))
        mels, mean = features.shape[1], features[:frames].mean()
        longest = min(config.time_mask, int(MOST_MASKED * frames))
        for width, start in self._draws(example, epoch, _MELS, 2 * config.frequency_masks).reshape(-1, 2):
            first, last = _stretch(width, start, min(config.frequency_mask, mels), mels)
            features[:frames, first:last] = mean
        for width, start in self._draws(example, epoch, _TIMES, 2 * config.time_masks).reshape(-1, 2):
            first, last = _stretch(width, start, longest, frames)
            features[first:last] = mean
        return features

    @property
    def _tail(self) -> int:
        return int(TAIL * self._log_mel.sampling_rate)

    def _draws(self, example: int, epoch: int, stream: int, width: int) -> Draws:
        """(width,) numbers in [0, 1)."""
        return shares(noise(self._seed, epoch, np.array([example]), width, stream))[0]

    def _response(self, shape: list[float], example: int, epoch: int) -> NDArray[np.float64]:
        """Of a simple room: the sound itself, and noise that dies away; together as loud as the sound alone."""
        seconds = np.arange(1, self._tail) / self._log_mel.sampling_rate
        echoes = (2 * self._draws(example, epoch, _ECHO, len(seconds)) - 1) * 10 ** (
            -3 * seconds / _between(DECAY, shape[0])
        )
        echoes *= _decibels(_between(ECHO, shape[1])) / np.sqrt(np.sum(echoes**2))
        response = np.concatenate([[1.0], echoes])
        return response / np.sqrt(np.sum(response**2))

    def _noise(
        self, spectrum: NDArray[np.complex128], samples: int, shape: tuple[float, float], example: int, epoch: int
    ) -> NDArray[np.complex128]:
        """The spectrum of noise, so much below that of the sound."""
        size = 2 * (len(spectrum) - 1)
        hiss = np.fft.rfft(2 * self._draws(example, epoch, _HISS, samples) - 1, size)
        hiss *= np.maximum(np.arange(len(hiss)), 1) ** (-_between(SLOPE, shape[1]) / 2)
        power, own = (np.sum(np.abs(each) ** 2) for each in (spectrum, hiss))
        return hiss * (np.sqrt(power / own) * _decibels(-_between(SIGNAL_TO_NOISE, shape[0])))


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
