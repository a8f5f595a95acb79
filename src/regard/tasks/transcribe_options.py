"""What a transcription is asked for; the names are those of Transformers' `generate` for Whisper."""

import difflib
import math
from dataclasses import dataclass, fields
from typing import Any, Self

from regard.errors import ConfigError
from regard.interop.speech_tokens import TASKS

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # Radford et al. 2022, section 4.5, as all defaults below


@dataclass(frozen=True)
class TranscribeOptions:
    """Raises ConfigError for values out of bounds."""

    language: str | None = None  # de, german; None: what the checkpoint was made for, else each recording's likeliest
    task: str | None = None  # "transcribe", "translate" (into English); None: what the checkpoint was made for
    timestamps: bool = False  # segments with their times
    condition_on_prev_tokens: bool = True  # a window is told the text before it
    temperature: tuple[float, ...] = TEMPERATURES  # one after the other, until a window's text is good; 0: no sampling
    compression_ratio_threshold: float | None = 2.4  # above it a text repeats itself, and is no good
    logprob_threshold: float | None = -1.0  # nats a token; below it a text is no good
    no_speech_threshold: float | None = 0.6  # above it a window whose text is no good holds no speech at all
    num_beams: int | None = None  # at temperature 0; None: as the checkpoint says
    max_new_tokens: int | None = None  # of a window; None: as many as the model has places for
    alpha: float | None = None  # of a model with n-grams: what their log-probability counts; None: as it says
    beta: float | None = None  # and what each word adds, in nats
    seed: int = 0
    batch_size: int = 8  # windows, of as many recordings, that are decoded together

    def __post_init__(self) -> None:
        single = isinstance(self.temperature, int | float)
        given = (self.temperature,) if single else tuple(self.temperature)
        object.__setattr__(self, "temperature", given)
        if not given or not all(isinstance(value, int | float) and 0 <= value <= 10 for value in given):
            raise ConfigError(f"temperature must be one number or several, of 0 to 10, but is {self.temperature}")
        if self.task is not None and self.task not in TASKS:
            raise ConfigError(f"task must be one of {', '.join(TASKS)}, but is {self.task!r}")
        for name in ("num_beams", "max_new_tokens", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, but is {value}")
        for name in ("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"):
            value = getattr(self, name)
            if value is not None and math.isnan(value):
                raise ConfigError(f"{name} must be a number or None, but is {value}")
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise ConfigError(f"alpha must be a number from 0, but is {self.alpha}")
        if self.beta is not None and not math.isfinite(self.beta):
            raise ConfigError(f"beta must be a number, but is {self.beta}")

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Self:
        """From keywords; ConfigError, naming the nearest, for one that is unknown."""
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise ConfigError(f"unknown option {name}: {hint}")
        return cls(**settings)
