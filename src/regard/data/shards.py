"""Prepared data on disk: memory-mapped token ids in shards, raw text of validation and test, a manifest of hashes.

A directory holds tokenizer.json, and for each shard of each split
`train-00000.tokens.npy`  ids of all its pairs, source then target, one after the other (uint16, or int32),
`train-00000.index.npy`   (n, 3) int64: start in the tokens, source length, target length; a repeated pair repeats it,
`test-00000.texts.jsonl`  for validation and test: source, target, source language, target language, one pair a line;
and manifest.json, written last: the hash of every file above, the counts, and what the data was made of.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regard.errors import DataError
from regard.features.tokenizer import Tokenizer

FORMAT = 1
SPLITS = ("train", "validation", "test")
MANIFEST = "manifest.json"

Ids = NDArray[np.int32]


class PreparedData:
    """What `prepare` made, opened for reading."""

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory, self.manifest = directory, manifest
        self.tokenizer = Tokenizer.load(directory)

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

    def split(self, name: str) -> "PairShards":
        """A split by name; DataError where the data has none of that name."""
        if name not in self.manifest["splits"]:
            raise DataError(f"{self.directory} has no {name} split: it has {', '.join(self.manifest['splits'])}")
        return PairShards(self.directory, self.manifest["splits"][name]["shards"], self.tokenizer.content_hash)

    @property
    def content_hash(self) -> str:
        """SHA-256 over the names and hashes of all files: equal data, equal hash, wherever it lies."""
        return hashlib.sha256(json.dumps(self.manifest["files"], sort_keys=True).encode()).hexdigest()


class PairShards:
    """The token ids of one split as a sequence of pairs; the ids stay on disk, 16 bytes a pair are in memory."""

    def __init__(self, directory: Path, shards: Sequence[str], tokenizer_hash: str) -> None:
        self._directory, self._shards, self.tokenizer_hash = directory, list(shards), tokenizer_hash
        indexes = [_mapped(directory / f"{shard}.index.npy") for shard in shards]
        self._tokens = [_mapped(directory / f"{shard}.tokens.npy") for shard in shards]
        self._first = np.cumsum([0, *map(len, indexes)])
        self._starts = np.concatenate([index[:, 0] for index in indexes])
        self.lengths: Ids = np.concatenate([index[:, 1:].astype(np.int32) for index in indexes])
        self._texts: list[list[str | None]] | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def pair(self, i: int) -> tuple[Ids, Ids]:
        """Source and target ids of pair `i`, each with its eos."""
        source, target = (self.gather(np.array([i]), side) for side in (0, 1))
        return source, target

    def gather(self, rows: NDArray[np.integer[Any]], side: int) -> Ids:
        """The ids of ascending `rows` (R,) end to end, of the source (side 0) or the target (1). -> (total,) int32."""
        lengths = self.lengths[rows].astype(np.int64)
        starts = self._starts[rows] + (lengths[:, 0] if side else 0)
        cuts = np.searchsorted(rows, self._first)
        parts = [
            tokens[_ranges(starts[low:high], lengths[low:high, side])]
            for tokens, low, high in zip(self._tokens, cuts[:-1], cuts[1:], strict=True)
            if low < high
        ]
        return np.concatenate(parts, dtype=np.int32) if parts else np.zeros(0, np.int32)

    def text(self, i: int) -> tuple[str, str, str | None, str | None]:
        """Source, target, source language, target language of pair `i`; DataError for training data."""
        if self._texts is None:
            self._texts = list(self._read_texts())
        source, target, source_lang, target_lang = self._texts[i]
        return str(source), str(target), source_lang, target_lang

    def _read_texts(self) -> Iterator[list[str | None]]:
        for shard in self._shards:
            file = self._directory / f"{shard}.texts.jsonl"
            if not file.exists():
                raise DataError(f"{file} does not exist: raw text is kept for validation and test only")
            with file.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


def write_shard(
    directory: Path, name: str, index: NDArray[np.int64], tokens: Ids, texts: Sequence[Sequence[str | None]] | None
) -> dict[str, str]:
    """Write the files of one shard: `index` (n, 3), `tokens` (all its ids,); -> SHA-256 by file name."""
    fits_16_bits = not len(tokens) or int(tokens.max()) < 1 << 16
    contents = {
        f"{name}.index.npy": _npy(index),
        f"{name}.tokens.npy": _npy(tokens.astype(np.uint16) if fits_16_bits else tokens),
    }
    if texts is not None:
        lines = (json.dumps(list(text), ensure_ascii=False) + "\n" for text in texts)
        contents[f"{name}.texts.jsonl"] = "".join(lines).encode()
    for file, content in contents.items():
        write_file(directory / file, content)
    return {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}


def write_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole: whoever reads sees the old bytes or the new ones."""
    temporary = path.with_name(path.name + ".tmp")
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


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers start, start + 1, ... of each range, end to end."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) + np.repeat(starts - ends + lengths, lengths)
