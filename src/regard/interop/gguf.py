"""GGUF in: a model of llama.cpp, one file, as if it were a Hugging Face directory.

The file is little-endian: magic, version, counts, metadata, a table of tensors, then the tensors. Nothing that it
claims is believed before it has been held against the size of the file, so a lie costs an error and no memory. (The
reader of the package `gguf` believes; the tests hold this one equal to it.) The package dequantises.
"""

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regard.errors import CheckpointError, MissingDependencyError
from regard.interop.gguf_names import (
    HALF_FLOATS,
    ROPE_FACTORS,
    Source,
    Stored,
    hugging_face_config,
    hugging_face_sources,
    shown,
)
from regard.interop.gguf_tokenizer import tokenizer_config, tokenizer_json

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # version 1 counted in 32 bits
LARGEST_HEADER = 64 * 2**20  # bytes; a vocabulary of 260,000 tokens takes about 15 MiB
MOST_AXES = 4

# The types of metadata; scalars as `struct` has them.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
FLOAT32, STRING, ARRAY = 6, 8, 9

VALUES_AT_ONCE = 2**20  # dequantised in one call
BYTES_AT_ONCE = 2**20  # compared in one call


class GgufCheckpoint:
    """What a GGUF file holds, under the names of Hugging Face.

    config: as a config.json. tensors: `GgufTensors`. metadata: the file's own keys, for those who look closer.
    The tokenizer is built when it is asked for: a file without a usable one still gives its weights.
    """

    def __init__(self, path: Path, metadata: dict[str, Any], config: dict[str, Any], tensors: "GgufTensors") -> None:
        self.path, self.metadata, self.config, self.tensors = path, metadata, config, tensors

    @cached_property
    def tokenizer_json(self) -> bytes:
        """The bytes of a tokenizer.json; CheckpointError where the file has none that Regard knows."""
        return tokenizer_json(self.metadata, self.path)

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        """A tokenizer_config.json: the special tokens, the chat template."""
        return tokenizer_config(self.metadata, self.path)


def read_gguf(path: str | Path, *, stored_floats: bool = False) -> GgufCheckpoint:
    """A .gguf file of the architecture llama (Mistral and SmolLM too), qwen2, qwen3 or gpt2; it is mapped, not read.

    stored_floats: hand out float16 and bfloat16 tensors as they are stored; all others, and without it these too, come
    as float32.

    Raises CheckpointError where the file is damaged, lies about its sizes, or holds what Regard has no form for, and
    MissingDependencyError where the package gguf is not installed.
    """
    path = Path(path)
    require_gguf()
    data = _mapped(path)
    header = read_header(data, path)
    _check_whole(header.metadata, path)
    config = hugging_face_config(header.metadata, header.tensors, _rope_factors(header, data), path)
    sources = hugging_face_sources(header.metadata, header.tensors, config, path)
    if _is_a_copy("output.weight", "token_embd.weight", header.tensors, data):
        # llama.cpp's converter writes GPT-2's one table twice.
        config["tie_word_embeddings"] = True
        del sources["lm_head.weight"]
    tensors = GgufTensors(data, header.tensors, sources, path, stored_floats)
    return GgufCheckpoint(path, header.metadata, config, tensors)


def require_gguf() -> None:
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError('a .gguf file needs the package gguf: pip install "regard[gguf]"') from error


class GgufTensors(Mapping[str, np.ndarray]):
    """The tensors of the file under Hugging Face names; one is dequantised when it is asked for, and not kept.

    `origin` says where they are from, for complaints. With stored_floats, half floats come as they are stored.
    """

    def __init__(
        self,
        data: np.ndarray,
        stored: dict[str, Stored],
        sources: dict[str, Source],
        origin: Path,
        stored_floats: bool = False,
    ) -> None:
        self._data, self._stored, self._sources = data, stored, sources
        self.origin, self.stored_floats = origin, stored_floats

    def __getitem__(self, name: str) -> np.ndarray:
        source = self._sources[name]
        values = dequantised(self._data, self._stored[source.name], self.stored_floats)
        if source.heads:  # llama.cpp's rotary pairs neighbours, Hugging Face's the two halves of a head
            pairs = values.reshape(source.heads, -1, 2, *values.shape[1:])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        return values.T if source.transposed else values

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that is there; nothing is read."""
        source = self._sources[name]
        shape = self._stored[source.name].shape
        return shape[::-1] if source.transposed else shape

    def dtype(self, name: str) -> str:
        """As NumPy names it: what the tensor is stored as, float32 for all that is quantised."""
        return HALF_FLOATS.get(self._stored[self._sources[name].name].kind.name, "float32")

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._sources))

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, name: object) -> bool:
        return name in self._sources


def dequantised(data: np.ndarray, stored: Stored, stored_floats: bool = False) -> np.ndarray:
    """A tensor's values in float32, or as stored where they are half floats; a view into the file where it can be."""
    from gguf.quants import dequantize

    raw = data[stored.start : stored.start + stored.size]
    kind = stored.kind.name
    if kind == "F32":
        return raw.view("<f4").reshape(stored.shape)
    if stored_floats and kind in HALF_FLOATS:
        return raw.view("<f2" if kind == "F16" else _bfloat16()).reshape(stored.shape)
    width = stored.shape[-1]
    rows = raw.reshape(prod(stored.shape) // width, -1)
    values = np.empty((len(rows), width), np.float32)
    step = max(1, VALUES_AT_ONCE // width)  # one call for all would hold the result twice
    for first in range(0, len(rows), step):
        values[first : first + step] = dequantize(rows[first : first + step], stored.kind)
    return values.reshape(stored.shape)


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


class Info(NamedTuple):
    """A line of the table of tensors, as it stands there."""

    shape: tuple[int, ...]
    kind: int
    offset: int  # bytes, from where the tensors begin


class Header(NamedTuple):
    metadata: dict[str, Any]  # key -> bool, int, float, str, list of str, or array
    tensors: dict[str, Stored]  # under llama.cpp's names


def read_header(data: np.ndarray, path: Path) -> Header:
    """The metadata and the table of tensors of a mapped file; every tensor lies inside it, and none on another."""
    cursor = Cursor(data, path)
    _check_version(cursor)
    tensor_count = cursor.count("tensors", least=32)  # bytes that one takes at least
    key_count = cursor.count("keys", least=13)
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = cursor.text()
        if key in metadata:
            raise cursor.error(f"the key {shown(key)} is there twice")
        metadata[key] = cursor.value(cursor.number("I"))
    infos: dict[str, Info] = {}
    for _ in range(tensor_count):
        name = cursor.text()
        if name in infos:
            raise cursor.error(f"the tensor {shown(name)} is there twice")
        infos[name] = Info(cursor.shape(name), cursor.number("I"), cursor.number("Q"))
    alignment = _alignment(metadata, cursor)
    base = -(-cursor.at // alignment) * alignment
    tensors = {name: _stored(name, info, base, cursor) for name, info in infos.items()}
    _check_places(tensors, alignment, cursor)
    return Header(metadata, tensors)


class Cursor:
    """Goes forward through the header, and raises CheckpointError instead of going past its end."""

    def __init__(self, data: np.ndarray, path: Path) -> None:
        self.path, self.file_size = path, len(data)
        self.view = memoryview(data[:LARGEST_HEADER])  # type: ignore[arg-type]
        self.at = 0

    def error(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is no GGUF file that can be read: {what}")

    def take(self, size: int) -> int:
        """Step over `size` bytes; where they begin."""
        start, end = self.at, self.at + size
        if end > len(self.view):
            short_file = len(self.view) == self.file_size
            limit = "it ends" if short_file else f"a header is at most {LARGEST_HEADER:,} bytes"
            raise self.error(f"at byte {start:,} it says {size:,} bytes more, but {limit} at byte {len(self.view):,}")
        self.at = end
        return start

    def number(self, form: str) -> Any:
        return struct.unpack_from(f"<{form}", self.view, self.take(struct.calcsize(f"<{form}")))[0]

    def count(self, what: str, least: int) -> int:
        """A number of things, each of at least so many bytes."""
        count: int = self.number("Q")
        room = (len(self.view) - self.at) // least
        if count > room:
            raise self.error(f"it says {count:,} {what}, but has room for {room:,} at most")
        return count

    def text(self) -> str:
        size = self.number("Q")
        start = self.take(size)
        try:
            return str(self.view[start : start + size], "utf-8")
        except UnicodeDecodeError:
            raise self.error(f"the text at byte {start:,} is not UTF-8") from None

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self._array(self.number("I"))
        if kind not in SCALARS:
            raise self.error(f"at byte {self.at:,} stands a value of the unknown type {kind}")
        value = self.number(SCALARS[kind])
        return float(str(np.float32(value))) if kind == FLOAT32 else value  # 1e-05, not 9.999999747378752e-06

    def _array(self, kind: int) -> list[str] | np.ndarray:
        if kind == STRING:
            return [self.text() for _ in range(self.count("texts", least=8))]
        if kind not in SCALARS:
            raise self.error(f"at byte {self.at:,} stands an array of the unknown type {kind}")
        dtype = np.dtype(f"<{SCALARS[kind]}")
        count = self.count("values", least=dtype.itemsize)
        return np.frombuffer(self.view, dtype, count, self.take(count * dtype.itemsize))

    def shape(self, name: str) -> tuple[int, ...]:
        """The lengths of a tensor's axes, as NumPy counts them: the file has the fastest one first."""
        axes = self.number("I")
        if not 1 <= axes <= MOST_AXES:
            raise self.error(f"{shown(name)} must have 1 to {MOST_AXES} axes, but has {axes}")
        return tuple(self.number("Q") for _ in range(axes))[::-1]


def _mapped(path: Path) -> np.ndarray:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{path} is not a file")
        if status.st_size < len(MAGIC):
            raise CheckpointError(f"{path} is no GGUF file: it has {status.st_size} bytes")
        return np.asarray(np.memmap(path, np.uint8, mode="r"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from error


def _check_version(cursor: Cursor) -> None:
    start = cursor.take(len(MAGIC))
    if bytes(cursor.view[start : cursor.at]) != MAGIC:
        raise CheckpointError(f"{cursor.path} is no GGUF file: it does not begin with {MAGIC.decode()}")
    version = cursor.number("I")
    if version and version % 2**16 == 0:
        raise cursor.error("it is big-endian, for another kind of machine")
    if version not in VERSIONS:
        raise cursor.error(f"it is of version {version}, but known are {' and '.join(map(str, VERSIONS))}")


def _alignment(metadata: dict[str, Any], cursor: Cursor) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
        raise cursor.error(f"general.alignment must be a power of two from 8 on, but is {shown(alignment)}")
    return alignment


def _check_whole(metadata: dict[str, Any], path: Path) -> None:
    parts = metadata.get("split.count", 1)
    if type(parts) is not int or parts > 1:
        raise CheckpointError(f"{path} is one of {shown(parts)} parts: merge them first (llama-gguf-split --merge)")


def _stored(name: str, info: Info, base: int, cursor: Cursor) -> Stored:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        kind = GGMLQuantizationType(info.kind)
    except ValueError:
        raise cursor.error(f"{shown(name)} is of type {info.kind}, which the package gguf does not know") from None
    if not _can_dequantise(kind):
        raise cursor.error(f"{shown(name)} is of type {kind.name}, which the package gguf does not dequantise")
    values, size = GGML_QUANT_SIZES[kind]  # of a block
    if 0 in info.shape or info.shape[-1] % values:
        raise cursor.error(f"{shown(name)} {info.shape} does not fill {kind.name}'s blocks of {values} values")
    return Stored(info.shape, kind, base + info.offset, prod(info.shape) // values * size)


@cache
def _can_dequantise(kind: Any) -> bool:
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _check_places(tensors: dict[str, Stored], alignment: int, cursor: Cursor) -> None:
    for name, stored in tensors.items():
        if stored.start % alignment:
            raise cursor.error(f"{shown(name)} begins at byte {stored.start:,}, no multiple of {alignment}")
        if stored.start + stored.size > cursor.file_size:
            end = stored.start + stored.size
            raise cursor.error(f"{shown(name)} {stored.shape} ends at byte {end:,} of {cursor.file_size:,}")
    for (one, before), (other, after) in pairwise(sorted(tensors.items(), key=lambda item: item[1].start)):
        if before.start + before.size > after.start:
            raise cursor.error(f"{shown(one)} and {shown(other)} lie on each other")


def _rope_factors(header: Header, data: np.ndarray) -> np.ndarray | None:
    stored = header.tensors.get(ROPE_FACTORS)
    return None if stored is None else dequantised(data, stored)


def _is_a_copy(one: str, other: str, tensors: dict[str, Stored], data: np.ndarray) -> bool:
    if one not in tensors or other not in tensors:
        return False
    a, b = tensors[one], tensors[other]
    if (a.shape, a.kind) != (b.shape, b.kind):
        return False
    steps = range(0, a.size, BYTES_AT_ONCE)
    ends = (min(step + BYTES_AT_ONCE, a.size) for step in steps)
    return all(
        np.array_equal(data[a.start + first : a.start + end], data[b.start + first : b.start + end])
        for first, end in zip(steps, ends, strict=True)
    )
