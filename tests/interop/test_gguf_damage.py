"""GGUF files that are damaged, cut short, or lie: an error in one line, and no memory."""

import random
import re
import struct
import sys
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest

from regard.errors import CheckpointError, MissingDependencyError
from regard.interop.gguf import Cursor, read_gguf, read_header

FIELDS = {
    "general.name": "tiny",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.feed_forward_length": 32,
    "llama.attention.head_count": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-6,
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.bos_token_id": 4,
    "tokenizer.ggml.eos_token_id": 5,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.tokens": ["a", "b", "ab", "ä", "<s>", "</s>"],
    "tokenizer.ggml.scores": [0.0, 0.0, -1.0, 0.0, 0.0, 0.0],
    "tokenizer.ggml.token_type": [1, 1, 1, 1, 3, 3],
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.chat_template": "{{ messages }}",
}
SHAPES = {
    "token_embd.weight": (6, 32),
    "output_norm.weight": (32,),
    "blk.0.attn_q.weight": (32, 32),
    "blk.0.attn_k.weight": (32, 32),
    "rope_freqs.weight": (8,),
}
ADD = {bool: "add_bool", int: "add_uint32", float: "add_float32", str: "add_string", list: "add_array"}


def written(path: Path, model: str = "gpt2", endianess=gguf.GGUFEndian.LITTLE, **changes) -> bytes:
    """The bytes of a small file that is as it should be, but for `changes`."""
    writer = gguf.GGUFWriter(path, "llama", endianess=endianess)
    for key, value in (FIELDS | {"tokenizer.ggml.model": model} | changes).items():
        getattr(writer, ADD[type(value)])(key, value)
    for name, shape in SHAPES.items():
        values = np.ones(shape, "f4")
        stored = len(shape) > 1
        kind = gguf.GGMLQuantizationType.Q8_0 if stored else None
        writer.add_tensor(name, gguf.quants.quantize(values, kind) if stored else values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return written(tmp_path_factory.mktemp("gguf") / "good.gguf")


def read_all(path: Path) -> None:
    checkpoint = read_gguf(path)
    for name in checkpoint.tensors:
        assert checkpoint.tensors[name].shape == checkpoint.tensors.shape(name)
    assert checkpoint.tokenizer_json
    assert checkpoint.tokenizer_config


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_all(path)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path} ").removeprefix("is no GGUF file that can be read: ")


def test_the_header_is_read_as_the_package_reads_it(good, tmp_path):
    path = tmp_path / "all.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"):
        getattr(writer, f"add_{kind}")(f"a.{kind}", 7)
    for key, value in {"flags": [True, False], "texts": ["ä", ""], "numbers": [-3, 2**30], "floats": [0.5]}.items():
        writer.add_array(f"a.{key}", value)
    writer.add_custom_alignment(64)
    writer.add_tensor("x", np.ones((2, 3, 5), "f4"))
    writer.add_tensor("y", gguf.quants.quantize(np.ones((4, 64), "f4"), gguf.GGMLQuantizationType.Q4_0), raw_dtype=2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tmp_path / "good.gguf").write_bytes(good)
    for file in (path, tmp_path / "good.gguf"):
        header, theirs = read_header(np.fromfile(file, "u1"), file), gguf.GGUFReader(file)
        assert header.metadata.keys() == {key for key in theirs.fields if not key.startswith("GGUF.")}
        for key, value in header.metadata.items():
            found = value.tolist() if isinstance(value, np.ndarray) else value
            assert found == pytest.approx(theirs.fields[key].contents()), key
        for tensor in theirs.tensors:
            stored = header.tensors[tensor.name]
            assert stored.shape == tuple(tensor.shape[::-1].tolist())
            assert (stored.kind, stored.start) == (tensor.tensor_type, tensor.data_offset)
            assert stored.size == tensor.n_bytes


def test_a_file_that_is_cut_anywhere_is_refused(good, tmp_path):
    end = len(good) - 31  # what follows the last tensor is padding
    for size in [*range(0, len(good) - 4000, 7), *range(len(good) - 4000, end, 97), end - 1]:
        complaint = refused(tmp_path / "cut.gguf", good[:size])
        assert re.search(r"ends at byte|has room for|it has \d+ bytes", complaint), (size, complaint)


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) == 1
    return content.replace(old, new)


def info(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    """A line of the table of tensors."""
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
    return struct.pack("<Q", len(name)) + name.encode() + axes + struct.pack("<IQ", kind, offset)


def lie(shape: tuple[int, ...] = (6, 32), kind: int = 8, offset: int = 0, name: str = "token_embd.weight") -> bytes:
    return info(name, shape, kind, offset)


TRUTH = lie()
WHERE = struct.pack("<Q", len(b"general.name")) + b"general.name" + struct.pack("<I", 8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"GGUF", b"GGML", "is no GGUF file: it does not begin with GGUF"),
        (b"GGUF\3\0\0\0", b"GGUF\1\0\0\0", "it is of version 1, but known are 2 and 3"),
        (b"GGUF\3\0\0\0\5", b"GGUF\3\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f", "tensors, but has room for"),
        (struct.pack("<QQ", 5, 18), struct.pack("<QQ", 5, 2**63), "9,223,372,036,854,775,808 keys, but has room for"),
        (WHERE + struct.pack("<Q", 4), WHERE + struct.pack("<Q", 2**50), "it says 1,125,899,906,842,624 bytes more"),
        (WHERE, WHERE[:-4] + struct.pack("<I", 77), "a value of the unknown type 77"),
        (b"\4\0\0\0\0\0\0\0tiny", b"\4\0\0\0\0\0\0\0\xff\xfeny", "is not UTF-8"),
        (b"llama.context_length", b"llama.vontext_length", "has no llama.context_length"),
        (b"llama.block_count", b"llama.block.count", "has no llama.block_count"),
        (b"tokenizer.ggml.scores\t\0\0\0\6", b"tokenizer.ggml.scores\t\0\0\0\t", "an array of the unknown type 9"),
        (b"\6\0\0\0\6\0\0\0\0\0\0\0", b"\6\0\0\0\6\0\0\0\0\0\1\0", "values, but has room for"),
        (b"attn_q", b"attn_k", "the tensor 'blk.0.attn_k.weight' is there twice"),
        (TRUTH, lie(kind=99), "is of type 99, which the package gguf does not know"),
        (TRUTH, lie(kind=26), "is of type I32, which the package gguf does not dequantise"),
        (TRUTH, lie(shape=(6, 33)), r"(6, 33) does not fill Q8_0's blocks of 32 values"),
        (TRUTH, lie(shape=(0, 32)), "(0, 32) does not fill"),
        (TRUTH, lie(shape=(2**62, 2**62)), "ends at byte"),
        (TRUTH, lie(shape=(600, 32)), "ends at byte"),
        (TRUTH, lie(offset=2**63), "ends at byte"),
        (TRUTH, lie(offset=3), "no multiple of 32"),
        (TRUTH, lie(offset=32), "lie on each other"),
        (TRUTH[:-28], TRUTH[:-28][:-4] + struct.pack("<I", 9), "must have 1 to 4 axes, but has 9"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_header_that_lies_is_refused_by_name_and_takes_no_memory(old, new, message, good, tmp_path):
    read_gguf(written_again(good, tmp_path))  # what the package imports does not count
    content = replaced(good, old, new) if len(old) == len(new) else padded(good, old, new)
    tracemalloc.start()
    try:
        assert message in refused(tmp_path / "lie.gguf", content)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def written_again(content: bytes, directory: Path) -> Path:
    (directory / "good.gguf").write_bytes(content)
    return directory / "good.gguf"


def padded(content: bytes, old: bytes, new: bytes) -> bytes:
    return replaced(content, old + content[content.index(old) + len(old) :][: len(new) - len(old)], new)


def test_big_endian_files_and_no_files_are_refused(tmp_path):
    path = tmp_path / "big.gguf"
    assert "big-endian" in refused(path, written(path, endianess=gguf.GGUFEndian.BIG))
    with pytest.raises(CheckpointError, match="is not a file"):
        read_gguf(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot read .*No such file"):
        read_gguf(tmp_path / "none.gguf")
    assert refused(path, b"") == "is no GGUF file: it has 0 bytes"


def test_a_header_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("regard.interop.gguf.LARGEST_HEADER", 1000)
    assert "a header is at most 1,000 bytes" in refused(tmp_path / "a.gguf", written(tmp_path / "a.gguf"))


@pytest.mark.parametrize("alignment", [0, 4, 48, 2**31 + 1])
def test_an_alignment_must_be_a_power_of_two(alignment, tmp_path):
    content = written(tmp_path / "a.gguf", **{"general.alignment": 32})
    key = b"general.alignment" + struct.pack("<I", 4)
    lie = replaced(content, key + struct.pack("<I", 32), key + struct.pack("<I", alignment))
    assert f"alignment must be a power of two from 8 on, but is {alignment}" in refused(tmp_path / "a.gguf", lie)


def damaged(content: bytes, noise: random.Random) -> bytes:
    """Bits flipped, bytes overwritten by what hurts most, a piece cut out or repeated, the end cut off."""
    out = bytearray(content)
    header = len(content) - 2 * 34 * 32  # past it there are weights, where all values are good
    for _ in range(noise.choice((1, 1, 1, 2, 5))):
        at = noise.randrange(header if noise.random() < 0.9 else len(out))
        how = noise.random()
        if how < 0.5:
            out[at] ^= 1 << noise.randrange(8)
        elif how < 0.8:
            number = noise.choice((0, 1, 2, 2**31, 2**32 - 1, 2**63, 2**64 - 1, noise.randrange(2**64)))
            size = noise.choice((1, 4, 8))
            out[at : at + size] = number.to_bytes(8, "little")[:size]
        elif how < 0.9:
            del out[at : at + noise.randrange(1, 40)]
        else:
            out[at:at] = out[at : at + noise.randrange(1, 40)]
    return bytes(out[: noise.randrange(len(out))] if noise.random() < 0.1 else out)


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_whatever_is_done_to_a_file_it_is_read_or_refused(model, tmp_path):
    content = written(tmp_path / "a.gguf", model)
    noise, refusals, read = random.Random(model), set(), 0
    for i in range(1000):
        path = tmp_path / f"damaged-{i}.gguf"  # a new one each time: to cut a file that is mapped is slow
        path.write_bytes(damaged(content, noise))
        try:
            read_all(path)
        except CheckpointError as error:
            refusals.add(str(error))
        else:
            read += 1
    assert read > 100
    assert len(refusals) > 100
    assert not [text for text in refusals if "\n" in text or len(text) > 600 + len(str(path))]


def test_without_the_package_the_error_names_the_extra(good, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "regard\[gguf\]"'):
        read_gguf(written_again(good, tmp_path))


def test_a_cursor_never_goes_past_the_end():
    cursor = Cursor(np.zeros(10, "u1"), Path("x"))
    assert cursor.take(4) == 0
    with pytest.raises(CheckpointError, match="at byte 4 it says 7 bytes more, but it ends at byte 10"):
        cursor.take(7)
    assert cursor.take(6) == 4
