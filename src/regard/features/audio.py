"""Recordings -> log-mel features, as Whisper's preprocessor_config.json has it: batches, and windows of long audio."""

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from regard.errors import CheckpointError, ConfigError, InputError
from regard.features.mel import LogMel
from regard.features.processor_config import FILE, number, section, whole
from regard.features.samples import MAX_SECONDS, Audio, Samples, read_audio

logger = logging.getLogger(__name__)

STRIDE = 2  # frames to a place of the encoder
_KIND = "WhisperFeatureExtractor"


class Window(NamedTuple):
    """What the model hears at a time."""

    start_seconds: float  # where in the recording
    features: NDArray[np.float32]  # (A, M); A = nb_max_frames, or fewer where windows may be shorter
    real_frames: int  # how many of them are of the recording: silence or zeros follow


class Recording:
    """The features of one recording of any length, from which windows are cut wherever a decoder has got to.

    It keeps the features and not the samples: 115 MB an hour with 80 mels at 16 kHz. As in Transformers and in the
    original, a recording that fits one window is padded with silence; a longer one is scaled by its own loudest
    frame, and a window that reaches past its end is padded with the feature 0.
    """

    def __init__(
        self, samples: NDArray[Any], rate: int, log_mel: LogMel | None = None, multiple: int | None = None
    ) -> None:
        """`samples` (samples,) or (samples, channels) at `rate` (hz); InputError as `read_audio` raises it. multiple:
        of samples, as `AudioProcessor.pad_to_multiple_of`."""
        self.log_mel, self._multiple = log_mel or LogMel(), multiple
        mono = read_audio((samples, rate), self.log_mel.sampling_rate, math.inf)
        self._features = self.log_mel(_padded(mono, _window(len(mono), self.log_mel, multiple)))
        is_long = len(mono) > self.log_mel.window_samples
        begun = math.ceil(len(mono) / self.log_mel.hop_length)
        self.frames = len(self._features) if is_long else min(begun, len(self._features))

    @property
    def seconds(self) -> float:
        """The length, in whole frames."""
        return self.frames * self.log_mel.hop_length / self.log_mel.sampling_rate

    def features_from(self, second: float) -> Window:
        """The window that starts at `second`, to the nearest frame; InputError unless 0 <= second < `seconds`."""
        if not 0 <= second < self.seconds:
            raise InputError(f"a window must start at 0 to {self.seconds:g} seconds, exclusive, but starts at {second}")
        start = min(round(second * self.log_mel.sampling_rate / self.log_mel.hop_length), self.frames - 1)
        real = min(self.frames - start, self.log_mel.window_frames)
        length = self.log_mel.frames(_window(real * self.log_mel.hop_length, self.log_mel, self._multiple))
        features = self._features[start : start + length]
        padded = np.pad(features, ((0, length - len(features)), (0, 0)))
        start_seconds = start * self.log_mel.hop_length / self.log_mel.sampling_rate
        return Window(start_seconds, padded, real)

    def windows(self) -> Iterator[Window]:
        """One window after the other, without overlap, to the end."""
        for start in range(0, self.frames, self.log_mel.window_frames):
            yield self.features_from(start * self.log_mel.hop_length / self.log_mel.sampling_rate)


@dataclass(frozen=True)
class AudioProcessor:
    """Reads recordings and gives the features that a Whisper checkpoint was trained with.

    pad_to_multiple_of: samples to whose multiple a window that the recording does not fill is padded with silence;
    None: to a whole one, as Whisper's decoders expect. A recording's own length decides, and not those beside it.
    """

    log_mel: LogMel = field(default_factory=LogMel)
    max_seconds: float = MAX_SECONDS  # of a recording
    pad_to_multiple_of: int | None = None
    others: Mapping[str, Any] = field(default_factory=dict, hash=False)  # keys of the file that change no feature

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "AudioProcessor":
        """Read a parsed preprocessor_config.json, or the processor_config.json that nests one; else CheckpointError.

        `n_samples` and `nb_max_frames` follow from the rest, and `mel_filters`, which old files spell out, too.
        """
        values = section(config, "feature_extractor")
        fixed = {"feature_extractor_type": _KIND, "padding_value": 0, "padding_side": "right"}
        for key, wanted in fixed.items():
            if values.get(key, wanted) != wanted:
                raise CheckpointError(f"{FILE}: {key} must be {wanted!r}, but is {values[key]!r}")
        base = LogMel()
        wholes = {key: whole(values, key, getattr(base, key)) for key in _WHOLES}
        try:
            log_mel = LogMel(**wholes, dither=number(values, "dither", base.dither))
        except ConfigError as error:
            raise CheckpointError(f"{FILE}: {error}") from None
        multiple = whole(values, "pad_to_multiple_of", 0) or None
        place, half = STRIDE * log_mel.hop_length, log_mel.n_fft // 2
        if multiple is not None and (multiple <= half or multiple % place):
            raise CheckpointError(
                f"{FILE}: pad_to_multiple_of must be a multiple of {place} samples above {half}, but is {multiple}"
            )
        others = {key: value for key, value in values.items() if key not in _KEYS}
        return cls(log_mel, pad_to_multiple_of=multiple, others=others)

    def to_config(self) -> dict[str, Any]:
        """The preprocessor_config.json, in the spelling of Transformers 5."""
        return {
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
            **self.others,
            "feature_extractor_type": _KIND,
            **{key: getattr(self.log_mel, key) for key in _WHOLES},
            "dither": self.log_mel.dither,
            "n_samples": self.log_mel.window_samples,
            "nb_max_frames": self.log_mel.window_samples // self.log_mel.hop_length,
            **({} if self.pad_to_multiple_of is None else {"pad_to_multiple_of": self.pad_to_multiple_of}),
        }

    def save(self, directory: Path) -> None:
        """Write preprocessor_config.json, as a checkpoint has it."""
        (directory / FILE).write_text(json.dumps(self.to_config(), indent=2, sort_keys=True) + "\n", "utf-8")

    @property
    def content_hash(self) -> str:
        """SHA-256 of what it says: equal processors, equal hash."""
        return hashlib.sha256(json.dumps(self.to_config(), sort_keys=True).encode()).hexdigest()

    def __call__(self, audio: Audio | Sequence[Audio]) -> NDArray[np.float32]:
        """`input_features`, (B, A, M) float32, of one recording or of several: the first window of each.

        What is longer is cut, with a warning: `recording` gives all of it. What is shorter is padded with silence.
        InputError where windows may be shorter and are not of one size: hand over one recording at a time.
        """
        sources = listed(audio)
        if not sources:
            raise InputError("there are no recordings")
        windows = [self._first_window(source, place) for place, source in enumerate(sources, 1)]
        if len(sizes := {len(window) for window in windows}) > 1:
            raise InputError(
                f"the recordings fill windows of {min(sizes)} to {max(sizes)} frames: pass those of one size together"
            )
        return np.stack(windows)

    def recording(self, audio: Audio) -> Recording:
        """All of a recording, for transcribing it window by window."""
        return Recording(self.samples(audio), self.log_mel.sampling_rate, self.log_mel, self.pad_to_multiple_of)

    def features(self, samples: Samples) -> NDArray[np.float32]:
        """(A, M) of the first window of `samples`, which are at the processor's rate; silence behind them."""
        return self.log_mel(_padded(samples[: self.log_mel.window_samples], self.window(len(samples))))

    def window(self, samples: int) -> int:
        """The samples of the window that so many of a recording, or more, begin to fill."""
        return _window(samples, self.log_mel, self.pad_to_multiple_of)

    def _first_window(self, source: Audio, place: int) -> NDArray[np.float32]:
        samples = self.samples(source)
        longest = self.log_mel.window_samples
        if len(samples) > longest:
            seconds = len(samples) / self.log_mel.sampling_rate
            logger.warning("recording %d lasts %.1f s: cut to %d s", place, seconds, self.log_mel.chunk_length)
        return self.features(samples)

    def samples(self, source: Audio) -> Samples:
        """A recording as the features are made of it: mono, at the processor's rate. InputError as `read_audio`."""
        if isinstance(source, np.ndarray):
            raise InputError("an array of samples needs its rate: pass (array, rate)")
        return read_audio(source, self.log_mel.sampling_rate, self.max_seconds)


_WHOLES = ("feature_size", "sampling_rate", "hop_length", "chunk_length", "n_fft")
_KEYS = {
    *(*_WHOLES, "feature_extractor_type", "dither", "n_samples", "nb_max_frames", "mel_filters"),
    "pad_to_multiple_of",
}


def listed(audio: Audio | Sequence[Audio]) -> Sequence[Audio]:
    """One recording as a list of one; an array and its rate are a tuple that ends with a number."""
    is_pair = isinstance(audio, tuple) and len(audio) == 2 and isinstance(audio[1], int | float | np.number)
    is_one = is_pair or isinstance(audio, str | os.PathLike | bytes | np.ndarray)
    return [cast(Audio, audio)] if is_one else cast(Sequence[Audio], audio)


def _window(samples: int, log_mel: LogMel, multiple: int | None) -> int:
    """The samples of the window that so many of a recording, or more, begin to fill."""
    whole_window = log_mel.window_samples
    return whole_window if multiple is None else min(-(-max(samples, 1) // multiple) * multiple, whole_window)


def _padded(samples: Samples, window: int) -> Samples:
    """Silence to the end of the window, where the samples do not reach it."""
    if len(samples) >= window:
        return samples
    padded = np.zeros(window, samples.dtype)
    padded[: len(samples)] = samples
    return padded
