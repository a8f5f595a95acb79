"""A recording, and the text that is spoken in it, which a decoder learns to write (Radford et al. 2022), or which each
frame learns its part of (connectionist temporal classification, Graves et al. 2006)."""

from collections.abc import Iterator, Sequence
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
from regard.data.objectives.files import INLINE, beside, opened, reason
from regard.data.objectives.objective import Batching, Objective, Reports, SensedRow
from regard.data.objectives.text_to_text import require_ending
from regard.data.records import parse_spoken
from regard.data.shards import PreparedData, TokenShards
from regard.data.sound_augmentation import SoundAugmenter
from regard.data.sources import DropReport, Located
from regard.errors import ConfigError, InputError
from regard.features.audio import STRIDE, AudioProcessor
from regard.features.mel import LogMel
from regard.features.samples import Samples
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_layouts import LayoutName

MOST_BYTES = 2**26  # of a shard's samples, which are in memory while it is made
MULTIPLE = 8  # labels are padded to one: each size costs a compilation of the loss
FULL_SCALE = 2**15


@dataclass(frozen=True)
class Transcribe(Objective):
    """A row is the text's ids, eos too, and the recording's samples at the processor's rate, 16 bits each: log-mel
    features are made of them with each batch, by the processor that goes with the model."""

    sounds: AudioProcessor
    augmentation: AugmentationConfig

    noun: ClassVar[str] = "recordings"
    columns: ClassVar[tuple[str, ...]] = ("text",)
    counted: ClassVar[tuple[str, ...]] = columns
    record = SpeechExample
    layout: ClassVar[LayoutName | None] = "translate"
    keys: ClassVar[tuple[str, ...]] = ("input_features", "labels")

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
        require_ending(tokenizer, place)

    def read(self, corpora: Sequence[CorpusConfig], report: DropReport) -> Iterator[Located]:
        for located in read_records(corpora, report, parse_spoken):
            spoken = SpeechExample(*located.example)  # type: ignore[misc]  # its records are of this kind
            yield located._replace(example=spoken._replace(audio=beside(spoken.audio, located.place.file)))

    def listed_files(self, corpora: Sequence[CorpusConfig]) -> Iterator[str]:
        found = (SpeechExample(*located.example).audio for located in self.read(corpora, DropReport()))  # type: ignore[misc]
        return (audio for audio in found if not audio.startswith(INLINE) and Path(audio).is_file())

    def encode(
        self, part: Sequence[Located], tokenizer: Tokenizer, reports: Reports
    ) -> Iterator[tuple[Located, list[SensedRow]]]:
        records = [SpeechExample(*located.example) for located in part]  # type: ignore[misc]  # they are of this kind
        texts = map(self.written, tokenizer.encode_batch([record.text for record in records]))
        for located, record, ids in zip(part, records, texts, strict=True):
            objection = self.objection(ids)
            samples = None if objection else self.samples(record.audio, located, reports)
            if samples is not None:
                objection = self.misfit(ids, len(samples))
            if objection:
                reports.dropped.add(objection, located.place)
            elif samples is not None:
                yield located, [SensedRow((ids,), quantised(samples))]

    def written(self, ids: list[int]) -> list[int]:
        """What is learned of a text's ids, with which its eos comes."""
        return ids

    def objection(self, ids: Sequence[int]) -> str | None:
        """Why a text is dropped; None where it is kept."""
        return None if len(ids) <= self.max_tokens else f"a text longer than data.max_tokens = {self.max_tokens}"

    def misfit(self, ids: Sequence[int], samples: int) -> str | None:
        """Why a recording of so many samples is dropped; None where it is kept."""
        if samples <= self.sounds.log_mel.window_samples:
            return None
        return f"a recording longer than data.audio_seconds = {self.sounds.log_mel.chunk_length}"

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
        found = []
        for row, samples in zip(rows.tolist(), recordings(shards, rows), strict=True):
            if vary is None:
                found.append(self.sounds.features(samples))
            else:
                heard = self.sounds.features(vary.heard(samples, row, epoch))
                found.append(vary.masked(heard, len(samples), row, epoch))
        return np.stack(found)


@dataclass(frozen=True)
class TranscribeFrames(Transcribe):
    """A row's text has no eos: where nothing more is said, the frames say the blank."""

    def refuse_tokenizer(self, tokenizer: Tokenizer, place: str) -> None:
        super().refuse_tokenizer(tokenizer, place)
        if tokenizer.encode("") != [tokenizer.end_id]:
            raise ConfigError(f"{place} puts cls before every text, which nobody speaks: give another tokenizer")

    def written(self, ids: list[int]) -> list[int]:
        return ids[:-1]

    def objection(self, ids: Sequence[int]) -> str | None:
        return super().objection(ids) if ids else "a text without a token"

    def misfit(self, ids: Sequence[int], samples: int) -> str | None:
        places = self.sounds.log_mel.frames(self.sounds.window(samples)) // STRIDE
        needed = len(ids) + sum(one == other for one, other in pairwise(ids))
        crowded = f"a text of more tokens than its window's {places} places, a blank between equal ones"
        return super().misfit(ids, samples) or (crowded if needed > places else None)


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
