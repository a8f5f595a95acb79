"""The tokenizer inside a GGUF file as Hugging Face's tokenizer.json and tokenizer_config.json.

The file names the rules by which text is cut before the merges (`tokenizer.ggml.pre`), and does not spell them out:
they are written down here. A SentencePiece vocabulary comes with scores instead of merges, which follow from them.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regard.errors import CheckpointError
from regard.interop.gguf_names import TokenIds, Values, shown, token_ids

log = logging.getLogger(__name__)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5  # of tokenizer.ggml.token_type
SPACE = "▁"
LONGEST_TOKEN = 512  # characters; runs of 256 spaces are the longest seen

Part = dict[str, Any]


def _byte_level(use_regex: bool) -> Part:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split(pattern: str) -> Part:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_DIGITS = {"type": "Digits", "individual_digits": True}
_NFC = {"type": "NFC"}
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + _REST
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + _REST
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class Rules(NamedTuple):
    """What the name of a pre-tokenizer stands for."""

    parts: tuple[Part, ...]
    normalizer: Part | None = None
    ignore_merges: bool = False  # a word that is a token is that token, whatever the merges give
    add_bos: bool = False  # where the file does not say


_RULES = {
    "gpt-2": Rules((_byte_level(use_regex=True),)),
    "smollm": Rules((_DIGITS, _byte_level(use_regex=True))),
    "llama-bpe": Rules((_split(_LLAMA3), _byte_level(use_regex=False)), ignore_merges=True, add_bos=True),
    "dbrx": Rules((_split(_LLAMA3), _byte_level(use_regex=False))),
    "qwen2": Rules((_split(_QWEN2), _byte_level(use_regex=False)), normalizer=_NFC),
    "stablelm2": Rules((_split(_QWEN2), _byte_level(use_regex=False))),
    "tekken": Rules((_split(_TEKKEN), _byte_level(use_regex=False)), ignore_merges=True, add_bos=True),
    "default": Rules(
        (
            *(_split(pattern) for pattern in (r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
            _byte_level(use_regex=False),
        )
    ),
}
_ALIASES = {
    "gpt-2": ("mpt", "olmo", "phi-2", "jais", "gigachat", "exaone4"),
    "smollm": ("starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
    "llama-bpe": ("llama3", "llama-v3", "falcon3", "pixtral", "midm-2.0"),
    "dbrx": ("smaug-bpe",),
    "qwen2": ("deepseek-r1-qwen", "megrez"),
}
PRE_TOKENIZERS = _RULES | {alias: _RULES[name] for name, aliases in _ALIASES.items() for alias in aliases}
# Before the names came, a file said nothing: the architecture tells, but for llama's.
UNNAMED = {"gpt2": "gpt-2", "qwen2": "qwen2", "qwen3": "qwen2"}


def tokenizer_json(metadata: Mapping[str, Any], path: Path) -> bytes:
    """The bytes of a tokenizer.json. Raises CheckpointError where the file has no tokenizer that Regard knows."""
    vocabulary = Vocabulary(metadata, path)
    content = _byte_level_bpe(vocabulary) if vocabulary.model == "gpt2" else _sentencepiece(vocabulary)
    frame = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(vocabulary, token_id) for token_id in vocabulary.added()],
        "post_processor": _post_processor(vocabulary),
    }
    return json.dumps({**frame, **content}, ensure_ascii=False).encode()


def tokenizer_config(metadata: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A tokenizer_config.json: what Transformers needs to know beside tokenizer.json, and the chat template."""
    vocabulary = Vocabulary(metadata, path)
    values = vocabulary.values
    roles = {
        f"{role}_token": None if token is None else vocabulary.tokens[token]
        for role, token in vocabulary.ids._asdict().items()
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": values.size("context_length"),
        "chat_template": values.text("tokenizer.chat_template", ""),
        **roles,
    }
    return {key: value for key, value in config.items() if value not in (None, "")}


class Vocabulary:
    """The keys `tokenizer.ggml.*`, checked."""

    def __init__(self, metadata: Mapping[str, Any], path: Path) -> None:
        self.metadata, self.path = metadata, path
        self.values = Values(metadata, path)
        self.model = self.values.text("tokenizer.ggml.model")
        if self.model not in ("gpt2", "llama"):
            known = "gpt2 (byte-level BPE) and llama (SentencePiece)"
            raise CheckpointError(f"{path} has a tokenizer of the kind {shown(self.model)}: Regard knows {known}")
        self.tokens: list[str] = self._list("tokens")
        self.token_of = {token: token_id for token_id, token in enumerate(self.tokens)}
        if len(self.token_of) < len(self.tokens):
            token_id = next(i for i, token in enumerate(self.tokens) if self.token_of[token] != i)
            raise CheckpointError(f"{path}: two tokens of the vocabulary are {shown(self.tokens[token_id])}")
        longest = max(self.tokens, key=len)
        if len(longest) > LONGEST_TOKEN:
            raise CheckpointError(f"{path} has a token of {len(longest):,} characters: at most {LONGEST_TOKEN}")
        self.ids: TokenIds = token_ids(metadata, len(self.tokens), path)
        self.types = self._types()

    def _types(self) -> list[int]:
        if "tokenizer.ggml.token_type" in self.metadata:
            return [int(kind) for kind in self._numbers("token_type", "iu")]
        named = {self.ids.bos, self.ids.eos}  # old files do not tell their special tokens
        return [CONTROL if token_id in named else NORMAL for token_id in range(len(self.tokens))]

    def added(self) -> list[int]:
        """The tokens that are found in text as they stand, before all rules."""
        return [i for i, kind in enumerate(self.types) if kind in (UNKNOWN, CONTROL, USER_DEFINED)]

    def used(self) -> dict[str, int]:
        """Tokens -> ids, without the dummies that fill the table up: Hugging Face has no tokens there."""
        return {token: i for i, token in enumerate(self.tokens) if self.types[i] != UNUSED}

    def merges(self) -> list[list[str]]:
        """The pairs of tokens that byte-level BPE joins, the first before all others."""
        pairs = [merge.split(" ") for merge in self._list("merges")]
        used = self.used().keys()
        for pair in pairs:
            if len(pair) != 2 or not {*pair, "".join(pair)} <= used:
                raise CheckpointError(f"{self.path}: {shown(' '.join(pair))} is no merge of two tokens into a third")
        return pairs

    def merges_by_score(self) -> list[list[str]]:
        """SentencePiece's order: the pair that makes the piece of the highest score goes first.

        Equal scores go by id, and so do the two halves of one piece: as Hugging Face writes them.
        """
        scores, token_of = self._numbers("scores", "f"), self.token_of
        ranked = sorted((i for i, kind in enumerate(self.types) if kind == NORMAL), key=lambda i: (-scores[i], i))
        merges: list[list[str]] = []
        for piece in (self.tokens[token_id] for token_id in ranked):
            halves = [[piece[:at], piece[at:]] for at in range(1, len(piece))]
            known = [pair for pair in halves if pair[0] in token_of and pair[1] in token_of]
            merges += sorted(known, key=lambda pair: (token_of[pair[0]], token_of[pair[1]]))
        return merges

    def flag(self, name: str, default: bool) -> bool:
        value = self.metadata.get(f"tokenizer.ggml.{name}", default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{self.path}: tokenizer.ggml.{name} must be true or false, but is {shown(value)}")
        return value

    def rules(self) -> Rules:
        name = self.values.text("tokenizer.ggml.pre", "default")
        if name == "default":
            name = UNNAMED.get(self.values.architecture, name)
        if name == "default":
            log.warning("%s names no pre-tokenizer: digits and punctuation may be cut wrong", self.path)
        if name not in PRE_TOKENIZERS:
            known = ", ".join(sorted(PRE_TOKENIZERS))
            raise CheckpointError(f"{self.path} has the pre-tokenizer {shown(name)}: Regard knows {known}")
        return PRE_TOKENIZERS[name]

    def add_bos(self) -> bool:
        return self.flag("add_bos_token", self.model == "llama" or self.rules().add_bos)

    def _list(self, name: str) -> list[str]:
        value = self.metadata.get(f"tokenizer.ggml.{name}")
        if not isinstance(value, list) or not value:
            raise CheckpointError(f"{self.path} has no list of texts tokenizer.ggml.{name}")
        return value

    def _numbers(self, name: str, kinds: str) -> list[float]:
        """kinds: NumPy's letters for the kinds of numbers that it may be."""
        value = self.metadata.get(f"tokenizer.ggml.{name}")
        if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or len(value) != len(self.tokens):
            raise CheckpointError(f"{self.path}: tokenizer.ggml.{name} must have a number for each of its tokens")
        return value.tolist()


def _byte_level_bpe(vocabulary: Vocabulary) -> dict[str, Any]:
    rules = vocabulary.rules()
    return {
        "normalizer": rules.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(rules.parts)},
        "decoder": _byte_level(use_regex=True),
        "model": _bpe(vocabulary.used(), vocabulary.merges(), ignore_merges=rules.ignore_merges),
    }


def _sentencepiece(vocabulary: Vocabulary) -> dict[str, Any]:
    space_first = vocabulary.flag("add_space_prefix", True)
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = [{"type": "Prepend", "prepend": SPACE}] if space_first else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space_first else []
    back = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    unknown = None if vocabulary.ids.unk is None else vocabulary.tokens[vocabulary.ids.unk]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": _bpe(vocabulary.token_of, vocabulary.merges_by_score(), unk_token=unknown, byte_fallback=True),
    }


def _bpe(
    vocab: dict[str, int],
    merges: list[list[str]],
    unk_token: str | None = None,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk_token,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": unk_token is not None,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": merges,
    }


def _added_token(vocabulary: Vocabulary, token_id: int) -> dict[str, Any]:
    special = vocabulary.types[token_id] != USER_DEFINED
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": vocabulary.tokens[token_id], **flags, "special": special}


def _post_processor(vocabulary: Vocabulary) -> dict[str, Any] | None:
    """What adds bos and eos, where the file wants them."""
    ids = vocabulary.ids
    first = _role(vocabulary, "bos", ids.bos) if vocabulary.add_bos() else None
    last = _role(vocabulary, "eos", ids.eos) if vocabulary.flag("add_eos_token", False) else None
    if first is None and last is None:
        return None

    def framed(sequence: str, type_id: int) -> list[dict[str, Any]]:
        own = [{"SpecialToken": {"id": token, "type_id": type_id}} for token in (first, last) if token is not None]
        text = {"Sequence": {"id": sequence, "type_id": type_id}}
        return [*own[: first is not None], text, *own[first is not None :]]

    used = {token for token in (first, last) if token is not None}
    special = {token: {"id": token, "ids": [vocabulary.token_of[token]], "tokens": [token]} for token in sorted(used)}
    pair = [*framed("A", 0), *framed("B", 1)]
    return {"type": "TemplateProcessing", "single": framed("A", 0), "pair": pair, "special_tokens": special}


def _role(vocabulary: Vocabulary, role: str, token_id: int | None) -> str:
    if token_id is None:
        raise CheckpointError(f"{vocabulary.path} wants {role} added, and names no tokenizer.ggml.{role}_token_id")
    return vocabulary.tokens[token_id]
