"""A recording, and the text that is spoken in it, which a decoder learns to write (Radford et al. 2022), or which each
frame learns its part of (connectionist temporal classification, Graves et al. 2006)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from regard.batch import IGNORED_LABEL, SpeechExample
from regard.config import AugmentationConfig, CorpusConfig
from regard.data.batching import ArrayBatch, BucketedBatches, PlannedBatch, Rows, padded
from regard.data.documents import read_records
from regard.data.given import Given
from regard.data.objectives.files import INLINE, beside, opened, reason
from regard.data.objectives.objective import Batching, Objective, Reports, SensedRow
from regard.data.objectives.text_to_text import require_ending
from regard.data.records import parse_spoken
from regard.data.shards import PreparedData, TokenShards
from regard.data.sound_augmentation import SoundAugmenter
from regard.data.sources import DropReport, Located
from regard.errors import ConfigError, DataError, InputError
from regard.features.audio import STRIDE, AudioProcessor
from regard.features.mel import LogMel
from regard.features.samples import Samples
from regard.features.spoken_languages import language_code
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName

MOST_BYTES = 2**26  # of a shard's samples, which are in memory while it is made
MULTIPLE = 8  # labels are padded to one: each size costs a compilation of the loss
FULL_SCALE = 2**15


@dataclass(frozen=True)
class Transcribe(Objective):
    """A row is the text's ids, eos too, and the recording's samples at the processor's rate, 16 bits each: log-mel
    features are made of them with each batch, by the processor that goes with the model.

    Where the model is told by tokens what to do, as Whisper is, its texts begin after them. All but the first of these
    it learns to write, and so goes on to tell languages apart (Radford et al. 2022, section 2.3).
    """

    sounds: AudioProcessor
    augmentation: AugmentationConfig
    language: str | None = None  # of recordings that say none
    told: Mapping[str, tuple[int, ...]] | None = None  # `Given.told`

    noun: ClassVar[str] = "recordings"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    counted: ClassVar[tuple[str, ...]] = columns
    record = SpeechExample
    layout: ClassVar[LayoutName | None] = "translate"
    keys: ClassVar[tuple[str, ...]] = ("input_features", "labels")

    def with_given(self, given: Given) -> Self:
        assert isinstance(given.processor, AudioProcessor)
        objective = replace(self, sounds=given.processor, told=given.told)
        if self.language is not None and given.told is None:
            raise ConfigError("data.language is told to a checkpoint, and this one is told nothing: leave it out")
        if self.language is not None:
            try:
                objective.prefix(self.language)
            except InputError as error:
                raise ConfigError(f"data.language: {error}") from None
        return objective

    def prefix(self, language: str) -> tuple[int, ...]:
        """What is written before a text in a language, which may be open where the model knows one alone. Raises
        InputError for a language that it does not know."""
        if self.told is None:
            return ()
        if not language and len(self.told) == 1:
            return next(iter(self.told.values()))
        return self.told[language_code(language, self.told)]

    def of(self, prepared: PreparedData) -> Self:
        named, found = super().of(prepared), prepared.processor
        return replace(named, sounds=found) if isinstance(found, AudioProcessor) else named

    @property
    def processor(self) -> AudioProcessor:
        return self.sounds

    @property
    def most_rows(self) -> int:
        return max(1, MOST_BYTES // (2 * self.sounds.log_mel.window_samples))

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        if self.told is None:
            require_ending(tokenizer, place)

    def refuse_record(self, located: Located) -> None:
        language = SpeechExample(*located.example).language  # type: ignore[misc]  # its records are of this kind
        if not language and self.told is not None and len(self.told) > 1:
            raise DataError(
                f'the model is told what is spoken, and {located.place} has no "language": give it one, or set '
                "data.language"
            )
        try:
            self.prefix(language)
        except InputError as error:
            raise DataError(f"{located.place}: {error}") from None

    def built(self, item: Any) -> SpeechExample:
        return self.spoken(item)

    def spoken(self, example: SpeechExample) -> SpeechExample:
        """With the language of those that say none."""
        return example._replace(language=example.language or self.language or "")

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        for located in read_records(corpora, report, parse_spoken):
            spoken = self.spoken(SpeechExample(*located.example))  # type: ignore[misc]  # its records are of this kind
            yield located._replace(example=spoken._replace(audio=beside(spoken.audio, located.place.file)))

    def listed_files(self, corpora: Sequence[CorpusConfig]) -> Iterator[str]:
        found = (SpeechExample(*located.example).audio for located in self.read(corpora, DropReport()))  # type: ignore[misc]
        return (audio for audio in found if not audio.startswith(INLINE) and Path(audio).is_file())

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[SensedRow]]]:
        records = [SpeechExample(*located.example) for located in part]  # type: ignore[misc]  # they are of this kind
        for located, record, ids in zip(part, records, self.texts(records, tokenizer), strict=True):
            objection = self.objection(ids)
            samples = None if objection else self.samples(record.audio, located, reports)
            if samples is not None:
                objection = self.misfit(ids, len(samples))
            if objection:
                reports.dropped.add(objection, located.place)
            elif samples is not None:
                yield located, [SensedRow((ids,), quantised(samples))]

    def texts(self, records: Sequence[SpeechExample], tokenizer: Tokenizer) -> list[list[int]]:
        """What is learned to be written, eos too."""
        if self.told is None:
            return tokenizer.encode_batch([record.text for record in records])
        end = tokenizer.end_id
        assert end is not None  # Whisper's
        texts = (_begun(tokenizer, record.text) for record in records)
        return [[*self.prefix(record.language), *ids, end] for record, ids in zip(records, texts, strict=True)]

    def objection(self, ids: Sequence[int]) -> str | None:
        """Why a text is dropped; None where it is kept."""
        return None if len(ids) <= self.max_tokens else f"a text longer than data.max_tokens = {self.max_tokens}"

    def misfit(self, ids: Sequence[int], samples: int) -> str | None:
        """Why a recording of so many samples is dropped; None where it is kept."""
        if samples <= self.sounds.log_mel.window_samples:
            return None
        heard = f"the {self.sounds.log_mel.chunk_length} s that are heard at a time"
        return f"a recording longer than {heard} (data.audio_seconds, or the checkpoint's)"

    def samples(self, audio: str, located: Located, reports: Reports) -> Samples | None:
        """Of a recording that can be read; any other is reported."""
        try:
            return self.sounds.samples(opened(audio))
        except InputError as error:
            reports.dropped.add(f"a recording that cannot be read ({reason(error, audio)})", located.place)
            return None

    def batches(self, shards: TokenShards, tokenizer: Tokenizer, how: Batching) -> BucketedBatches:
        vary = SoundAugmenter(self.augmentation, self.sounds.log_mel, how.seed) if how.varied else None

        def arrange(planned: PlannedBatch, epoch: int) -> ArrayBatch:
            return {
                "input_features": self.features(shards, planned.rows, vary, epoch),
                "labels": labels_of(shards, planned.rows, self.max_tokens),
            }

        windows = [self.sounds.window(samples) for samples in shards.feature_lengths.tolist()]
        return how.of_equal_sizes(np.unique(windows, return_inverse=True)[1], arrange)

    def features(
        self, shards: TokenShards, rows: Rows, vary: SoundAugmenter | None = None, epoch: int = 0
    ) -> NDArray[np.float32]:
        """`input_features` of ascending rows (R,), whose windows are of one size: (R, A, M), as the processor makes
        them, or varied."""
        sounds = recordings(shards, rows)
        if vary is None:
            return np.stack([self.sounds.features(samples) for samples in sounds])
        drawn = zip(sounds, vary.chances(rows, epoch), strict=True)
        return np.stack([vary.masked(self.sounds.features(vary.heard(each, of)), len(each), of) for each, of in drawn])


@dataclass(frozen=True)
class TranscribeFrames(Transcribe):
    """A row's text has no eos: where nothing more is said, the frames say the blank."""

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        super().refuse_tokenizer(tokenizer, place)
        if tokenizer.encode("") != [tokenizer.end_id]:
            raise ConfigError(f"{place} puts cls before every text, which nobody speaks: give another tokenizer")

    def texts(self, records: Sequence[SpeechExample], tokenizer: Tokenizer) -> list[list[int]]:
        return [ids[:-1] for ids in super().texts(records, tokenizer)]

    def objection(self, ids: Sequence[int]) -> str | None:
        return super().objection(ids) if ids else "a text without a token"

    def misfit(self, ids: Sequence[int], samples: int) -> str | None:
        places = self.sounds.log_mel.frames(self.sounds.window(samples)) // STRIDE
        needed = len(ids) + sum(one == other for one, other in pairwise(ids))
        crowded = f"a text of more tokens than its window's {places} places, a blank between equal ones"
        return super().misfit(ids, samples) or (crowded if needed > places else None)


def _begun(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text that Whisper writes. It begins with a blank, as the words of a sentence do; which is left out
    where it would be a token of its own, for Whisper is never let begin with that one."""
    ids = tokenizer.encode_plain(f" {text}")
    return ids[1:] if len(ids) > 1 and ids[:1] == tokenizer.encode_plain(" ") else ids


def hearing(seconds: int | None, frame_ms: int | None = None, pad_to_multiple_ms: int | None = None) -> AudioProcessor:
    """The processor of recordings of at most so many seconds, a frame every so many milliseconds, and silence behind a
    shorter one to a multiple of so many: Whisper's, but for what is given. Raises ConfigError for one that no model has
    places for."""
    log_mel = LogMel() if seconds is None else LogMel(chunk_length=seconds)
    if frame_ms is not None:
        log_mel = replace(log_mel, hop_length=frame_ms * log_mel.sampling_rate // 1000)
    if log_mel.window_frames % STRIDE:
        raise ConfigError(
            "data.audio_seconds and data.frame_ms must make a window of an even number of frames, but make "
            f"{log_mel.window_frames}: give another"
        )
    if pad_to_multiple_ms is None:
        return AudioProcessor(log_mel)
    multiple, place = pad_to_multiple_ms * log_mel.sampling_rate // 1000, STRIDE * log_mel.hop_length
    if multiple % place:
        raise ConfigError(
            f"data.pad_to_multiple_ms must be a multiple of {1000 * place // log_mel.sampling_rate}, two frames of "
            f"data.frame_ms, but is {pad_to_multiple_ms}"
        )
    return AudioProcessor(log_mel, pad_to_multiple_of=multiple)


def recordings(shards: TokenShards, rows: Rows) -> Iterator[Samples]:
    """The samples of ascending rows, as they were before they were stored."""
    ends = np.cumsum(shards.feature_lengths[rows])
    return iter(np.split(shards.features(rows).astype(np.float32) / FULL_SCALE, ends[:-1]))


def quantised(samples: Samples) -> NDArray[np.int16]:
    """To 16 bits, as most recordings come; what is louder than full scale is clipped."""
    return np.clip(np.rint(samples * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def labels_of(shards: TokenShards, rows: Rows, most: int) -> NDArray[Any]:
    """The texts of ascending rows: (R, T), -100 behind them."""
    lengths = shards.lengths[rows, 0]
    size = -(-int(lengths.max()) // MULTIPLE) * MULTIPLE
    return padded(shards.gather(rows, 0), lengths, min(size, most), IGNORED_LABEL)[0]
