"""The transcribing task: recordings of any length in, text with its times out (Radford et al. 2022, section 4.5)."""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from regard.decoding.options import GenerationOptions
from regard.errors import CheckpointError, ConfigError, InputError, Refused
from regard.features.audio import AudioProcessor, Recording, Window, listed
from regard.features.samples import Audio
from regard.features.spoken_languages import language_code
from regard.features.tokenizer import Tokenizer
from regard.interop.speech_tokens import TASKS, SpeechTokens, told_by
from regard.specs import AudioSpec, ModelSpec
from regard.tasks.found import Found
from regard.tasks.hearing import MEMORY, Ask, Engine, Heard, Hearing
from regard.tasks.segments import FRAMES, stretches
from regard.tasks.transcribe_options import TranscribeOptions

Progress = Callable[[int, float, float], None]  # number of a recording, from 1; seconds of it heard; its seconds
_COOL = 0.5  # the text of a window that was sampled above is not told to the next one


@dataclass(frozen=True)
class Segment:
    """start, end: seconds from the recording's beginning."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcription:
    """All that is said in one recording.

    language: a code such as de, spoken in the recording, though a translation is English; None where the model knows of
    no languages. segments: with `timestamps=True`; those without text are left out. cut: the seconds at which windows
    start whose text came to max_new_tokens, so that the rest of it was not heard. doubtful: those whose text repeats
    itself or is unlikely at the last of the temperatures, too, so that it is a guess.
    """

    text: str
    language: str | None
    seconds: float
    segments: tuple[Segment, ...] = ()
    cut: tuple[float, ...] = ()
    doubtful: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        segments = [dict(vars(segment)) for segment in self.segments]
        return {**vars(self), "segments": segments, "cut": list(self.cut), "doubtful": list(self.doubtful)}


class _Said(NamedTuple):
    """A stretch of speech."""

    start: float  # seconds
    end: float
    ids: tuple[int, ...]


@dataclass
class _Listener:
    """How far one recording is heard."""

    number: int  # from 1
    recording: Recording
    language: str | None  # None: not known yet, or the model knows one alone
    timestamps: bool  # whether its windows are decoded with them
    frame: int = 0  # where its next window starts
    said: list[_Said] = field(default_factory=list)
    context: list[int] = field(default_factory=list)  # what the next window is told
    cut: list[float] = field(default_factory=list)
    doubtful: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.at(self.frame)

    def at(self, frame: int) -> float:
        log_mel = self.recording.log_mel
        return frame * log_mel.hop_length / log_mel.sampling_rate

    @property
    def is_done(self) -> bool:
        return self.frame >= self.recording.frames

    def report(self, progress: Progress | None) -> None:
        if progress is not None:
            whole = self.recording.seconds
            progress(self.number, min(self.seconds, whole), whole)

    def take(self, window: Window, heard: Heard, first_time: int | None) -> None:
        """What was heard of the window at `frame`, and go on."""
        if not heard.is_speech:
            self.frame += window.real_frames
            return
        ids, frames = tuple(heard.ids), window.real_frames
        if self.timestamps and first_time is not None:
            found, frames = stretches(heard.ids, first_time, window.real_frames)
            new = [_Said(self._at_step(one.first), self._at_step(one.last), one.ids) for one in found]
        else:
            new = [_Said(self.seconds, self.at(self.frame + frames), ids)]
        self.said += new
        self.context += [token for one in new for token in one.ids]
        if heard.temperature >= _COOL:
            self.context = []
        if not heard.finished and frames == window.real_frames:  # else the next window hears the rest
            self.cut.append(self.seconds)
        if not heard.is_good:
            self.doubtful.append(self.seconds)
        self.frame += frames

    def _at_step(self, step: int) -> float:
        return self.at(self.frame + FRAMES * step)


class Hearer(ABC):
    """What makes text of recordings; each kind of model in its own way."""

    processor: AudioProcessor
    languages: tuple[str, ...] = ()  # that it can be told, where it is told any

    @overload
    def __call__(self, audio: Audio, **settings: Any) -> Transcription: ...

    @overload
    def __call__(self, audio: Sequence[Audio], **settings: Any) -> list[Transcription]: ...

    def __call__(self, audio: Audio | Sequence[Audio], **settings: Any) -> Transcription | list[Transcription]:
        """A recording -> a `Transcription`; several -> a list of them. `settings` are those of `each`."""
        sources = listed(audio)
        found = list(self.each(sources, **settings))
        return found[0] if sources is not audio else found

    @abstractmethod
    def each(
        self,
        sources: Iterable[Audio],
        *,
        progress: Progress | None = None,
        refused: Refused | None = None,
        **settings: Any,
    ) -> Iterator[Transcription]:
        """The transcriptions in the order of the recordings, each as soon as it and all before it are done."""

    def recordings(self, sources: Iterable[Audio], refused: Refused | None) -> Iterator[tuple[int, Recording]]:
        """Each recording with its number, from 1. One that cannot be read is an InputError, which has its number where
        it has no name; or is told to `refused`, and left out."""
        for number, source in enumerate(sources, 1):
            try:
                recording = self.processor.recording(source)
            except InputError as error:
                named = error if isinstance(source, str | os.PathLike) else InputError(f"recording {number}: {error}")
                if refused is None:
                    raise named from error
                refused(number, named)
                continue
            yield number, recording


class Transcriber(Hearer):
    """A Whisper model: `transcriber("talk.flac")`, or a list of recordings. A recording is a path, the bytes of a file,
    or an array of samples with its rate.

    A recording longer than a window (30 s) is heard from window to window: each starts where the last complete sentence
    of the one before ends. `languages` are the codes to choose from; empty where the model knows English alone.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        processor: AudioProcessor,
        tokens: SpeechTokens,
        defaults: GenerationOptions,
    ) -> None:
        """Raises CheckpointError where the processor's windows are not what the model reads."""
        self.engine, self.tokenizer, self.processor = engine, tokenizer, processor
        self.tokens, self.defaults = tokens, defaults
        self.languages = tuple(tokens.languages)
        check_sizes(engine.spec, processor)

    def each(
        self,
        sources: Iterable[Audio],
        *,
        progress: Progress | None = None,
        refused: Refused | None = None,
        **settings: Any,
    ) -> Iterator[Transcription]:
        """The transcriptions in the order of the recordings, each as soon as it and all before it are done.

        settings: the fields of `TranscribeOptions`. `batch_size` recordings are read and held at a time; the text of
        one does not depend on the others. Raises ConfigError for settings that cannot be, InputError for a language
        that the model does not know, or for a recording that cannot be read, once those before it are done; or, given
        `refused`, that one has no transcription: its number, from 1, and the error are passed to that.
        """
        asked = TranscribeOptions.of(settings)
        if asked.alpha is not None or asked.beta is not None:
            raise InputError("alpha and beta are for models without a decoder that have n-grams: leave them out")
        language, task = self._spoken(asked)
        if asked.timestamps:
            self.tokens.rule()
        request = _Request(asked, language, task, self._hearing(asked))
        return self._each(self.recordings(sources, refused), request, progress)

    def _spoken(self, asked: TranscribeOptions) -> tuple[str | None, str]:
        """The language, None where each recording tells its own, and the task. As in Transformers, what the checkpoint
        was made for counts where neither is asked for."""
        if not self.languages:
            for name in ("language", "task"):
                if getattr(asked, name) is not None:
                    raise InputError(f"this model transcribes English and knows no other {name}: leave {name} out")
            return None, "transcribe"
        if asked.task is not None and asked.task not in self.tokens.tasks:
            raise InputError(f"this model has no token for the task {asked.task}: leave it out")
        if asked.language is not None:
            return language_code(asked.language, self.tokens.languages), asked.task or "transcribe"
        if asked.task is not None:
            return None, asked.task
        return self.tokens.language, self.tokens.task

    def _hearing(self, asked: TranscribeOptions) -> Hearing:
        places = self.engine.spec.text.positions.max_positions
        told = asked.condition_on_prev_tokens and self.tokens.previous is not None
        before = places // 2 if told else 0  # tokens of the text before, and the one that says so
        language = next(iter(self.languages), None)
        first = max(len(self.tokens.prompt(language, task, timestamps=False)) for task in TASKS)
        room = places - before - first
        if room < 1 or (asked.max_new_tokens or 0) > room:
            raise ConfigError(
                f"max_new_tokens must be 1 to {room}, for which the model has places, but is {asked.max_new_tokens}"
            )
        given = {} if asked.num_beams is None else {"num_beams": asked.num_beams}
        base = self.defaults.merged(
            max_new_tokens=asked.max_new_tokens or room,
            min_new_tokens=0,
            num_return_sequences=1,
            return_scores=True,
            do_sample=False,
            **given,
        )
        return Hearing(self.engine, self.tokenizer, self.tokens, base, asked, before + first)

    def _each(
        self, recordings: Iterator[tuple[int, Recording]], request: "_Request", progress: Progress | None
    ) -> Iterator[Transcription]:
        refusal: InputError | None = None
        active: list[_Listener] = []
        done: dict[int, Transcription] = {}
        order: deque[int] = deque()  # numbers of those that were not given back yet
        while True:
            held = len(active)
            refusal = refusal or self._fill(active, recordings, request)
            order.extend(listener.number for listener in active[held:])
            if not active:
                break
            self._hear(active, request)
            for listener in active:
                listener.report(progress)
                if listener.is_done:
                    done[listener.number] = self._transcription(listener, request)
            active = [listener for listener in active if not listener.is_done]
            while order and order[0] in done:
                yield done.pop(order.popleft())
        if refusal is not None:
            raise refusal

    def _fill(
        self, active: list[_Listener], recordings: Iterator[tuple[int, Recording]], request: "_Request"
    ) -> InputError | None:
        """Read recordings until there are enough; what was wrong with one, after which no other is to be read."""
        try:
            for number, recording in islice(recordings, request.asked.batch_size - len(active)):
                active.append(self._listener(number, recording, request))
        except InputError as error:
            return error
        return None

    def _listener(self, number: int, recording: Recording, request: "_Request") -> _Listener:
        is_long = recording.frames > self.processor.log_mel.window_frames
        timestamps = request.asked.timestamps or (is_long and self.tokens.first_time is not None)
        return _Listener(number, recording, request.language, timestamps)

    def _hear(self, listeners: Sequence[_Listener], request: "_Request") -> None:
        """One window of each."""
        for listener, (window, _, heard) in zip(listeners, self._heard(listeners, request), strict=True):
            listener.take(window, heard, self.tokens.first_time)

    def _heard(self, listeners: Sequence[_Listener], request: "_Request") -> list[tuple[Window, Ask, Heard]]:
        """The next window of each, what its text goes on from, and its text."""
        windows = [listener.recording.features_from(listener.seconds) for listener in listeners]
        memory = np.asarray(self.engine.encode({"input_features": np.stack([window.features for window in windows])}))
        self._detect(listeners, memory)
        asks = [self._ask(listener, request) for listener in listeners]
        found: dict[int, Heard] = {}
        for timestamps in {listener.timestamps for listener in listeners}:
            rows = [row for row, listener in enumerate(listeners) if listener.timestamps == timestamps]
            heard = request.hearing(memory[rows], [asks[row] for row in rows], timestamps)
            found |= zip(rows, heard, strict=True)
        return [(window, asks[row], found[row]) for row, window in enumerate(windows)]

    def first_window(self, source: Audio, language: str | None = None) -> tuple[Window, list[int], list[int]]:
        """The beginning of a recording, the prompt, and the ids that a search writes after it, the end among them where
        it came."""
        asked = TranscribeOptions(temperature=(0.0,), language=language)
        language, task = self._spoken(asked)
        request = _Request(asked, language, task, self._hearing(asked))
        ((window, ask, heard),) = self._heard([self._listener(1, self.processor.recording(source), request)], request)
        return window, ask.prompt, [*heard.ids, self.tokens.eos] if heard.finished else heard.ids

    def _detect(self, listeners: Sequence[_Listener], memory: NDArray[Any]) -> None:
        """The likeliest language of each recording's first window, where it is open."""
        rows = [row for row, listener in enumerate(listeners) if listener.language is None and self.languages]
        if not rows:
            return
        start = np.full((len(rows), 1), self.tokens.start, np.int32)
        logits = np.asarray(self.engine({MEMORY: memory[rows], "decoder_input_ids": start}).logits)[:, -1]
        codes = sorted(self.languages, key=self.tokens.languages.__getitem__)
        best = logits[:, [self.tokens.languages[code] for code in codes]].argmax(axis=-1)
        for row, place in zip(rows, best.tolist(), strict=True):
            listeners[row].language = codes[place]

    def _ask(self, listener: _Listener, request: "_Request") -> Ask:
        prompt = self.tokens.prompt(listener.language, request.task, listener.timestamps)
        if request.asked.condition_on_prev_tokens and listener.context and self.tokens.previous is not None:
            most = self.engine.spec.text.positions.max_positions // 2 - 1
            prompt = [self.tokens.previous, *listener.context[-most:], *prompt]
        # Far apart for different windows, and the same whatever else is transcribed.
        return Ask(prompt, request.asked.seed + 1000 * listener.frame)

    def _transcription(self, listener: _Listener, request: "_Request") -> Transcription:
        ids = [token for said in listener.said for token in said.ids]
        segments = []
        for said in listener.said if request.asked.timestamps else ():
            text = self._text(said.ids)
            if text:
                segments.append(Segment(said.start, said.end, text))
        language = listener.language or "en"
        return Transcription(
            self._text(ids),
            language,
            listener.recording.seconds,
            tuple(segments),
            cut=tuple(listener.cut),
            doubtful=tuple(listener.doubtful),
        )

    def _text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(self.tokens.of_text(list(ids))).strip()


class _Request(NamedTuple):
    asked: TranscribeOptions
    language: str | None
    task: str
    hearing: Hearing


def transcriber(found: Found) -> Transcriber:
    """Of a loaded checkpoint."""
    model = found.model
    tokens = told_by(model.kept_config, model.kept_generation, found.spec, found.tokenizer)
    processor = AudioProcessor.from_config(found.processor)
    return Transcriber(model, found.tokenizer, processor, tokens, found.generation_options)


def check_sizes(spec: ModelSpec, processor: AudioProcessor) -> None:
    """Raise CheckpointError unless the processor's windows are what the model reads."""
    assert isinstance(spec.source, AudioSpec)
    if spec.source.whole_windows and processor.pad_to_multiple_of is not None:
        multiple = processor.pad_to_multiple_of
        raise CheckpointError(
            f"the model reads whole windows, but pad_to_multiple_of is {multiple} in the processor's file: leave it out"
        )
    log_mel, frames = processor.log_mel, FRAMES * spec.source.positions.max_positions
    for name, ours, theirs in (
        ("feature_size (num_mel_bins)", spec.source.mels, log_mel.feature_size),
        ("frames of a window (twice max_source_positions)", frames, log_mel.window_frames),
    ):
        if ours != theirs:
            raise CheckpointError(
                f"{name} must be {ours}, as the model reads, but are {theirs} in the processor's file"
            )
