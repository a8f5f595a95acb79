"""Prepared data on disk: memory-mapped token ids in shards, raw text of validation and test, a manifest of hashes.

A directory holds tokenizer.json, and for each shard of each split
`train-00000.tokens.npy`  the columns of all its rows, one after the other (uint16, or int32): of a pair the ids of
                          source and target, of other examples what their objective says,
`train-00000.index.npy`   (n, 1 + columns) int64: start in the tokens, length of each column; a repeated row repeats it,
`train-00000.features.npy` of images and sounds alone: the arrays of all rows, end to end along their first axis,
`train-00000.places.npy`  and (n, 2) int64 beside it: start and length of each row's,
`test-00000.texts.jsonl`  for validation and test: the record that each row was made of, as JSON's list;
and manifest.json, written last: the hash of every file above, the counts, and what the data was made of.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from regard.errors import DataError
from regard.features.processor_config import FILE as PROCESSOR
from regard.features.processors import Processor, read_processor
from regard.features.tokenizer import Tokenizer

FORMAT = 1
SPLITS = ("train", "validation", "test")
MANIFEST = "manifest.json"
NO_TOKENIZER = cast(Tokenizer, None)  # of data without texts: whoever reads texts never meets it

Ids = NDArray[np.int32]


class PreparedData:
    """What `prepare` made, opened for reading."""

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory, self.manifest = directory, manifest
        self.tokenizer = Tokenizer.load(directory) if manifest["tokenizer"] else NO_TOKENIZER

    @classmethod
    def open(cls, directory: str | Path) -> "PreparedData":
        """Read the manifest and check the hash of every file; DataError names what is missing or damaged."""
        directory = Path(directory)
        manifest = read_manifest(directory)
        if manifest is None:
            raise DataError(f"{directory} holds no prepared data: run `regard prepare`, which writes {MANIFEST}")
        damaged = next(damaged_files(directory, manifest["files"]), None)
        if damaged is not None:
            raise DataError(f"{directory / damaged} is missing or damaged: run `regard prepare` again")
        return cls(directory, manifest)

    def split(self, name: str) -> "TokenShards":
        """A split by name; DataError where the data has none of that name."""
        if name not in self.manifest["splits"]:
            raise DataError(f"{self.directory} has no {name} split: it has {', '.join(self.manifest['splits'])}")
        return TokenShards(self.directory, self.manifest["splits"][name]["shards"], self.tokenizer_hash)

    @property
    def tokenizer_hash(self) -> str:
        """Of the tokenizer; "" of data without texts."""
        return str(self.manifest["tokenizer"].get("content_hash", ""))

    @cached_property
    def processor(self) -> Processor | None:
        """What the images or the sounds were prepared with; None where there are none."""
        file = self.directory / PROCESSOR
        return read_processor(json.loads(file.read_bytes())) if file.is_file() else None

    def save(self, directory: Path) -> None:
        """Write what stands beside a model's weights: its tokenizer, and how its images or sounds are prepared."""
        for companion in (self.tokenizer, self.processor):
            if companion is not None:
                companion.save(directory)

    @property
    def content_hash(self) -> str:
        """SHA-256 over the names and hashes of all files: equal data, equal hash, wherever it lies."""
        return hashlib.sha256(json.dumps(self.manifest["files"], sort_keys=True).encode()).hexdigest()


class TokenShards:
    """The rows of one split; their columns stay on disk, 8 bytes a row and 4 a column of it are in memory."""

    def __init__(self, directory: Path, shards: Sequence[str], tokenizer_hash: str) -> None:
        self._directory, self._shards, self.tokenizer_hash = directory, list(shards), tokenizer_hash
        indexes = [_mapped(directory / f"{shard}.index.npy") for shard in shards]
        self._tokens = [_mapped(directory / f"{shard}.tokens.npy") for shard in shards]
        self._first = np.cumsum([0, *map(len, indexes)])
        self._starts = np.concatenate([index[:, 0] for index in indexes])
        self.lengths: Ids = np.concatenate([index[:, 1:].astype(np.int32) for index in indexes])
        self._features = [_mapped(file) for shard in shards if (file := directory / f"{shard}.features.npy").exists()]
        places = [_mapped(directory / f"{shard}.places.npy") for shard in shards if self._features]
        self._places = np.concatenate(places) if places else np.zeros((0, 2), np.int64)
        self._texts: list[list[Any]] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, i: int) -> tuple[Ids, ...]:
        """The columns of row `i`: of a pair source and target ids, each with its eos."""
        return tuple(self.gather(np.array([i]), column) for column in range(self.lengths.shape[1]))

    def gather(self, rows: NDArray[np.integer[Any]], column: int) -> Ids:
        """A column of ascending `rows` (R,), end to end. -> (total,) int32."""
        return self.slices(rows, column, 0, self.lengths[rows, column])

    def slices(
        self, rows: NDArray[np.integer[Any]], column: int, begins: NDArray[Any] | int, lengths: NDArray[Any]
    ) -> Ids:
        """Of a column of ascending `rows` (R,), which may repeat, so many ids from `begins` on, end to end."""
        before = self.lengths[rows, :column].sum(1, dtype=np.int64)
        starts = self._starts[rows] + before + begins
        cuts = np.searchsorted(rows, self._first)
        parts = [
            tokens[ranges(starts[low:high], lengths[low:high].astype(np.int64))]
            for tokens, low, high in zip(self._tokens, cuts[:-1], cuts[1:], strict=True)
            if low < high
        ]
        return np.concatenate(parts, dtype=np.int32) if parts else np.zeros(0, np.int32)

    @property
    def feature_lengths(self) -> NDArray[np.int64]:
        """The length of each row's array of features along its first axis: (rows,)."""
        return self._places[:, 1]

    def features(self, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """The arrays of ascending `rows` (R,), end to end along their first axis, as they are stored."""
        cuts = np.searchsorted(rows, self._first)
        return np.concatenate(
            [
                stored[start : start + length]
                for stored, low, high in zip(self._features, cuts[:-1], cuts[1:], strict=True)
                for start, length in self._places[rows[low:high]].tolist()
            ]
        )

    def text(self, i: int) -> tuple[Any, ...]:
        """The record that row `i` was made of: of a pair source, target and their languages; DataError for training
        data."""
        if self._texts is None:
            self._texts = list(self._read_texts())
        return tuple(self._texts[i])

    def _read_texts(self) -> Iterator[list[Any]]:
        for shard in self._shards:
            file = self._directory / f"{shard}.texts.jsonl"
            if not file.exists():
                raise DataError(f"{file} does not exist: raw text is kept for validation and test only")
            with file.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


class Features(NamedTuple):
    """The arrays of a shard's rows, end to end along their first axis, and where each lies."""

    stored: NDArray[Any]
    places: NDArray[np.int64]  # (n, 2): start, length


def write_shard(
    directory: Path,
    name: str,
    index: NDArray[np.int64],
    tokens: Ids,
    texts: Sequence[Sequence[Any]] | None,
    features: Features | None = None,
) -> dict[str, str]:
    """Write the files of one shard: `index` (n, 1 + columns), `tokens` (all of them,); -> SHA-256 by file name."""
    fits_16_bits = not len(tokens) or (int(tokens.min()) >= 0 and int(tokens.max()) < 1 << 16)
    contents = {
        f"{name}.index.npy": _npy(index),
        f"{name}.tokens.npy": _npy(tokens.astype(np.uint16) if fits_16_bits else tokens),
    }
    if features is not None:
        contents |= {f"{name}.features.npy": _npy(features.stored), f"{name}.places.npy": _npy(features.places)}
    if texts is not None:
        lines = (json.dumps(list(text), ensure_ascii=False) + "\n" for text in texts)
        contents[f"{name}.texts.jsonl"] = "".join(lines).encode()
    for file, content in contents.items():
        write_file(directory / file, content)
    return {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}


def write_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole: whoever reads sees the old bytes or the new ones."""
    temporary = path.with_name(f"{path.name}.{uuid4().hex[:8]}.tmp")  # its own: several may write the same file
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """The manifest of a directory; None where there is none, DataError where it is no manifest of this format."""
    file = directory / MANIFEST
    if not file.exists():
        return None
    try:
        manifest = json.loads(file.read_bytes())
        known = manifest["format"] == FORMAT and all(Path(name).name == name for name in manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error}): remove {directory} and run `regard prepare` again") from error
    if not known:
        raise DataError(f"{file} is not of format {FORMAT}: remove {directory} and run `regard prepare` again")
    return dict(manifest)


def damaged_files(directory: Path, hashes: dict[str, str]) -> Iterator[str]:
    """The names of the files that are missing or have another SHA-256."""
    for name, expected in hashes.items():
        try:
            with (directory / name).open("rb") as stream:
                actual = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            actual = ""
        if actual != expected:
            yield name


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _mapped(file: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(file, mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file}: {error}") from error


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers start, start + 1, ... of each range, end to end."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
