"""Transcribing with an encoder alone: each frame says its token, or none (Graves et al. 2006)."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regard.decoding.frames import collapsed
from regard.decoding.numpy_ops import log_softmax
from regard.decoding.prefixes import Spelling, WordModel, prefix_search
from regard.errors import CheckpointError, InputError, Refused
from regard.features.audio import AudioProcessor, Recording
from regard.features.samples import Audio
from regard.features.tokenizer import Tokenizer
from regard.interop.word_search import WordSearch
from regard.tasks.reading import Reader
from regard.tasks.transcribe import Hearer, Progress, Transcription, check_sizes
from regard.tasks.transcribe_options import TranscribeOptions

_OF_A_DECODER = ("language", "task", "max_new_tokens")


class FrameTranscriber(Hearer):
    """A model with a ctc head: called as a `Transcriber` is.

    A recording longer than a window is heard from window to window, without overlap, each by itself. There are no
    timestamps, and nothing is sampled. With one beam the text is that of the likeliest path; with more it is the
    likeliest over all of its paths, and with the n-grams of words that stand beside the model, by these as well.
    """

    def __init__(
        self, engine: Reader, tokenizer: Tokenizer, processor: AudioProcessor, words: WordSearch | None = None
    ) -> None:
        """Raises CheckpointError where the processor's windows are not what the model reads."""
        self.engine, self.tokenizer, self.processor, self.words = engine, tokenizer, processor, words
        check_sizes(engine.spec, processor)
        if engine.spec.tokens.pad is None:
            raise CheckpointError("the model cannot transcribe: config.json names no pad_token_id, which is the blank")
        self.blank = engine.spec.tokens.pad

    def each(
        self,
        sources: Iterable[Audio],
        *,
        progress: Progress | None = None,
        refused: Refused | None = None,
        **settings: Any,
    ) -> Iterator[Transcription]:
        """The transcriptions in the order of the recordings, `batch_size` recordings at a time.

        settings: as `Transcriber.each` has them. Raises InputError for what asks for a decoder, for timestamps or for
        n-grams that are not there, and for a recording that cannot be read, once those before it are done; refused: as
        there.
        """
        asked = TranscribeOptions.of(settings)
        given = [name for name in _OF_A_DECODER if getattr(asked, name) is not None]
        if asked.timestamps or given:
            raise InputError(f"this model has no decoder and no {(*given, 'timestamps')[0]}: leave that out")
        return self._each(self.recordings(sources, refused), asked.batch_size, self.search(asked), progress)

    def search(self, asked: TranscribeOptions) -> "FrameSearch":
        """How frames are searched for what was asked. Raises InputError as `each`."""
        if self.words is None:
            if asked.alpha is not None or asked.beta is not None:
                raise InputError("the model has no n-grams of words, which alpha and beta are for: leave them out")
            return FrameSearch(self.blank, asked.num_beams or 1, self.spelling, None)
        beams = self.words.num_beams if asked.num_beams is None else asked.num_beams
        alpha = self.words.alpha if asked.alpha is None else asked.alpha
        beta = self.words.beta if asked.beta is None else asked.beta
        return FrameSearch(self.blank, beams, self.spelling, WordModel(self.words.ngrams, alpha, beta))

    @cached_property
    def spelling(self) -> Spelling:
        return Spelling.of(self.tokenizer.pieces())

    def _each(
        self,
        recordings: Iterator[tuple[int, Recording]],
        batch_size: int,
        search: "FrameSearch",
        progress: Progress | None,
    ) -> Iterator[Transcription]:
        refusal: InputError | None = None
        while refusal is None:
            heard: list[tuple[int, Recording]] = []
            try:
                for numbered in islice(recordings, batch_size):
                    heard.append(numbered)  # those before a refusal are kept
            except InputError as error:
                refusal = error
            if not heard:
                break
            yield from self._transcriptions(heard, search, progress)
        if refusal is not None:
            raise refusal

    def _transcriptions(
        self, heard: Sequence[tuple[int, Recording]], search: "FrameSearch", progress: Progress | None
    ) -> Iterator[Transcription]:
        """One window of all recordings after the other."""
        texts: list[list[str]] = [[] for _ in heard]
        windows = [recording.windows() for _, recording in heard]
        while True:
            found = [(row, window) for row, own in enumerate(windows) if (window := next(own, None)) is not None]
            if not found:
                break
            said = self._read([window.features for _, window in found], search)
            for (row, window), ids in zip(found, said, strict=True):
                texts[row].append(self.tokenizer.decode(list(ids)).strip())
                number, recording = heard[row]
                if progress is not None:
                    seconds = window.real_frames * recording.seconds / recording.frames
                    progress(number, window.start_seconds + seconds, recording.seconds)
        for own, (_, recording) in zip(texts, heard, strict=True):
            yield Transcription(" ".join(filter(None, own)), None, recording.seconds)

    def _read(self, windows: Sequence[NDArray[np.float32]], search: "FrameSearch") -> list[Sequence[int]]:
        """What each window (A, M) says, those of one size read at once."""
        sizes, found = [len(window) for window in windows], dict[int, Sequence[int]]()
        for size in sorted(set(sizes)):
            rows = [row for row, own in enumerate(sizes) if own == size]
            logits = np.asarray(self.engine({"input_features": np.stack([windows[row] for row in rows])}).logits)
            found |= zip(rows, search(logits), strict=True)
        return [found[row] for row in range(len(windows))]


class FrameSearch(NamedTuple):
    """From logits (B, S, V) to the ids that they say."""

    blank: int
    num_beams: int
    spelling: Spelling
    words: WordModel | None

    def __call__(self, logits: NDArray[np.floating[Any]]) -> Iterator[Sequence[int]]:
        if self.num_beams == 1:
            yield from collapsed(logits.argmax(axis=-1), self.blank)
            return
        for frames in logits.astype(np.float64):
            yield prefix_search(log_softmax(frames), self.blank, self.spelling, self.num_beams, self.words)
