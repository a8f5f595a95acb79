"""What the Rust library `tokenizers` does for a tokenizer.json: text -> ids -> text.

Two copies of a tokenizer may stand side by side: one that finds special tokens in a text, as Transformers does, and one
to which a text is only text.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import tokenizers

from regard.errors import CheckpointError
from regard.features.encoding import Encoding
from regard.features.tokenizer_families import special_tokens, token_text

_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


class RustEngine:
    """A `tokenizers.Tokenizer` that never truncates and never pads."""

    def __init__(self, content: bytes, config: Mapping[str, Any], origin: str) -> None:
        tokenizer = _tokenizer(_agreeing(content, config), origin)
        add_tokens(tokenizer, config, origin)
        self.vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(self.vocabulary.values(), default=-1) + 1
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(i for i, token in added.items() if token.special)
        state = json.loads(tokenizer.to_str())
        self.algorithm = str(state["model"]["type"])
        decoder = str(state["decoder"])
        self.is_byte_level = "ByteLevel" in decoder
        fallback = "ByteFallback" in decoder
        self.held_ids = frozenset(self.vocabulary[piece] for piece in _BYTES & self.vocabulary.keys() if fallback)
        self.word_end = str(state["model"].get("end_of_word_suffix") or "") if self.is_byte_level else ""
        self._tokenizer = tokenizer
        unspoken = _unspoken(state, {added[i].content for i in self.special_ids})
        self._plain = tokenizer if unspoken is None else _tokenizer(json.dumps(unspoken).encode(), origin)
        self._plain.encode_special_tokens = True

    @cached_property
    def _finding(self) -> tokenizers.Tokenizer:
        """The copy that finds special tokens in text; the other one may be at work in another thread."""
        if self._plain is not self._tokenizer:
            return self._tokenizer
        return tokenizers.Tokenizer.from_str(self._tokenizer.to_str())

    def token_id(self, token: str) -> int | None:
        return self.vocabulary.get(token)

    def token(self, token_id: int) -> str | None:
        return self._tokenizer.id_to_token(token_id)

    def ids(self, texts: Sequence[str], special: bool, parse_special: bool) -> list[list[int]]:
        """The ids of each text, in parallel threads. special: with special tokens around; parse_special: those that
        the text spells are found."""
        encoded = self._encoder(parse_special).encode_batch_fast(texts, add_special_tokens=special)
        return [encoding.ids for encoding in encoded]

    def encoding(self, first: str, second: str | None, special: bool, parse_special: bool) -> Encoding:
        found = self._encoder(parse_special).encode(first, second, add_special_tokens=special)
        return Encoding(found.ids, found.type_ids, found.offsets, found.sequence_ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def normalise(self, text: str) -> str:
        normalizer = self._tokenizer.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    def _encoder(self, parse_special: bool) -> tokenizers.Tokenizer:
        return self._finding if parse_special else self._plain


def add_tokens(tokenizer: tokenizers.Tokenizer, config: Mapping[str, Any], origin: str) -> None:
    """The tokens that the config adds to the vocabulary, and what it calls special.

    Raises CheckpointError where an added token would get another id than the config says.
    """
    added = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    for token_id, token in _declared(config, origin):
        if token.content not in added:
            tokenizer.add_tokens([token])
            added[token.content] = token
        found = tokenizer.token_to_id(token.content)
        if found != token_id:
            raise CheckpointError(f"{origin}: the added token {token.content!r} has the id {found}, not {token_id}")
    roles: dict[str | None, Any] = {token_text(value): value for key, value in config.items() if key.endswith("_token")}
    for content in special_tokens(config):
        is_known = tokenizer.token_to_id(content) is not None
        marked = content in added and added[content].special
        if not marked and (is_known or content not in roles):
            said = roles.get(content)
            flags = _flags(said) if isinstance(said, Mapping) else {}
            tokenizer.add_special_tokens([tokenizers.AddedToken(content, **{**flags, "special": True})])


def _flags(token: Mapping[str, Any]) -> dict[str, bool]:
    """How a token is found in text."""
    known = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {key: bool(token[key]) for key in known if key in token}


def _declared(config: Mapping[str, Any], origin: str) -> list[tuple[int, tokenizers.AddedToken]]:
    """`added_tokens_decoder`, by id."""
    tokens = config.get("added_tokens_decoder") or {}
    try:
        declared = [(int(token_id), str(token["content"]), _flags(token)) for token_id, token in tokens.items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{origin}: added_tokens_decoder is not usable: {error!r}") from None
    in_order = sorted(declared, key=lambda item: item[0])
    return [(token_id, tokenizers.AddedToken(content, **given)) for token_id, content, given in in_order]


def _tokenizer(content: bytes, origin: str) -> tokenizers.Tokenizer:
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(content)
    except BaseException as error:  # the Rust library raises Exception itself, and may panic on what it does not expect
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise CheckpointError(f"{origin} is not a tokenizer.json that this version reads: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _agreeing(content: bytes, config: Mapping[str, Any]) -> bytes:
    """The tokenizer.json, where it says otherwise than tokenizer_config.json, as that one has it.

    As Transformers: a config that somebody edited wins over the file that was written with it.
    """
    wanted = {
        "BertNormalizer": {
            "lowercase": "do_lower_case",
            "strip_accents": "strip_accents",
            "handle_chinese_chars": "tokenize_chinese_chars",
        },
        "ByteLevel": {"add_prefix_space": "add_prefix_space"},
    }
    if not any(key in config for keys in wanted.values() for key in keys.values()):
        return content
    try:
        state = json.loads(content)
        parts = [part for part in (state.get("normalizer"), state.get("pre_tokenizer")) if isinstance(part, dict)]
    except (ValueError, AttributeError, RecursionError):
        return content  # the library says what is wrong with it
    changed = False
    for part in parts:
        for field, key in wanted.get(str(part.get("type")), {}).items():
            if key in config and config[key] != part.get(field) and (config[key] is not None or key == "strip_accents"):
                part[field] = config[key]
                changed = True
    return json.dumps(state, ensure_ascii=False).encode() if changed else content


def _unspoken(state: dict[str, Any], specials: set[str]) -> dict[str, Any] | None:
    """A tokenizer.json whose model cannot make a special token out of text; None where it cannot anyway.

    A unigram model takes any piece of its vocabulary from text, </s> too; merges may join up to one. There the piece
    gets another, unguessable name, or the last merge goes; ids stay.
    """
    model = state["model"]
    if model["type"] == "Unigram":
        secret = secrets.token_hex(8)
        pieces = [[f"{piece}\uffff{secret}" if piece in specials else piece, score] for piece, score in model["vocab"]]
        known = {piece for piece, _ in model["vocab"]}
        added = [token for token in state["added_tokens"] if token["content"] not in specials & known]
        return {**state, "model": {**model, "vocab": pieces}, "added_tokens": added}
    if model["type"] == "BPE":
        spoken = [pair for pair in model["merges"] if "".join(pair) in specials]
        if spoken:
            return {**state, "model": {**model, "merges": [pair for pair in model["merges"] if pair not in spoken]}}
    return None
