"""SentencePiece's `.model` files: converted to a tokenizer.json, or used as they are beside a vocab.json.

Converted are the families whose ids follow from the order of the pieces (T5, Pegasus, Llama, and with fairseq's offset
XLM-RoBERTa, mBART, NLLB); Transformers runs those on a converted model too. M2M-100 and Marian look each piece up in a
vocabulary of its own, and there SentencePiece itself cuts the text, as it does in Transformers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from regard.errors import CheckpointError
from regard.features.encoding import Encoding
from regard.features.tokenizer_families import language_codes, special_tokens, token_text
from regard.features.vocabulary import json_vocabulary

if TYPE_CHECKING:  # it, and protobuf with it, are for `.model` files alone: a tokenizer.json starts without them
    from sentencepiece import SentencePieceProcessor

SPACE = "▁"
TAG = re.compile(r">>[A-Za-z0-9][\w.-]*<<")  # Marian's target language
_BYTE = re.compile("<0x[0-9A-F]{2}>")
MODEL_FILES = {  # and the class of a tokenizer that nothing else is known of
    "spiece.model": "T5Tokenizer",
    "sentencepiece.bpe.model": "XLMRobertaTokenizer",
    "tokenizer.model": "LlamaTokenizer",
}
_FAIRSEQ = ("XLMRobertaTokenizer", "MBartTokenizer", "MBart50Tokenizer", "NllbTokenizer")  # ids are off by one
MODEL_CLASSES = (*_FAIRSEQ, "T5Tokenizer", "PegasusTokenizer", "LlamaTokenizer")
_UNIGRAM, _BPE = 1, 2  # TrainerSpec.ModelType
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4  # SentencePiece.Type
_PEGASUS_OFFSET = 103  # ids for pre-training: <mask_1>, <mask_2>, and <unk_2> to <unk_102>
_EXTRA_IDS = 100  # T5's sentinels


class Pieces(NamedTuple):
    """What a `.model` file holds, as far as it is used."""

    pieces: list[tuple[str, float]]
    types: list[int]
    is_bpe: bool
    charsmap: bytes  # the normalisation, compiled; empty where the text is taken as it is

    @classmethod
    def parse(cls, content: bytes, origin: str) -> "Pieces":
        """Raises CheckpointError for what is no SentencePiece model of unigrams or byte pairs."""
        from sentencepiece import sentencepiece_model_pb2

        messages: Any = sentencepiece_model_pb2  # its classes are made at run time
        try:
            model = messages.ModelProto.FromString(content)
        except Exception:  # protobuf's DecodeError, whose package need not be imported for that
            model = messages.ModelProto()
        kind = model.trainer_spec.model_type
        if not model.pieces or kind not in (_UNIGRAM, _BPE):
            raise CheckpointError(
                f"{origin} is no SentencePiece model of unigrams or byte pairs; a tiktoken file must be converted to "
                "tokenizer.json first"
            )
        return cls(
            [(piece.piece, piece.score) for piece in model.pieces],
            [piece.type for piece in model.pieces],
            kind == _BPE,
            model.normalizer_spec.precompiled_charsmap,
        )

    def of_type(self, *kinds: int) -> list[str]:
        return [piece for (piece, _), kind in zip(self.pieces, self.types, strict=True) if kind in kinds]

    @property
    def unknown(self) -> str:
        return next(iter(self.of_type(_UNKNOWN)), "<unk>")

    def merges(self, ids: Mapping[str, int]) -> list[tuple[str, str]]:
        """Which two pieces become which third, the best third first: SentencePiece keeps scores only.

        The ways to make one piece come in the order that Transformers writes them in.
        """
        scores = dict(self.pieces)
        merges: list[tuple[str, str]] = []
        for piece in sorted(self.of_type(_NORMAL), key=lambda piece: (-scores[piece], ids[piece])):
            halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
            merges += [pair for pair in halves if pair[0] in ids and pair[1] in ids]
        return merges


def tokenizer_of(pieces: Pieces, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """The tokenizer of a `.model` file, without special tokens around a text. `config` names the class it is of."""
    name = str(config["tokenizer_class"])
    vocabulary, marks = _vocabulary(pieces, name, config)
    ids = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    if pieces.unknown not in ids:
        raise CheckpointError(f"the SentencePiece model of a {name} must have the piece {pieces.unknown}, but has not")
    if pieces.is_bpe:
        tokenizer = tokenizers.Tokenizer(
            models.BPE(
                vocab=ids,
                merges=pieces.merges(ids),
                unk_token=pieces.unknown,
                fuse_unk=True,
                byte_fallback=name == "LlamaTokenizer",
            )
        )
    else:
        tokenizer = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=ids[pieces.unknown], byte_fallback=False))
    _set_rules(tokenizer, pieces, name, config)
    special = [token for token in (*pieces.of_type(_CONTROL), *marks) if token in ids]
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in pieces.of_type(_USER_DEFINED)])
    return tokenizer


def _vocabulary(pieces: Pieces, name: str, config: Mapping[str, Any]) -> tuple[list[tuple[str, float]], list[str]]:
    """The pieces in the order of the model's ids, and the special tokens that are among them for the family."""
    if name in _FAIRSEQ:
        first = ["<s>", "<pad>", "</s>", "<unk>"]
        codes = list(language_codes(config))
        return [*_scored(first), *pieces.pieces[3:], *_scored([*codes, "<mask>"])], codes
    if name == "T5Tokenizer":
        sentinels = [f"<extra_id_{n}>" for n in reversed(range(_count(config, "extra_ids", _EXTRA_IDS)))]
        return [*pieces.pieces, *_scored(sentinels)], sentinels
    if name == "PegasusTokenizer":
        unused = [f"<unk_{n}>" for n in range(2, _count(config, "offset", _PEGASUS_OFFSET))]
        masks = ["<mask_1>", "<mask_2>"]
        first = ["<pad>", "</s>", *masks]
        return [*_scored(first), *_scored(unused, -100.0), *pieces.pieces[2:]], [*masks, *unused]
    return pieces.pieces, []


def _scored(tokens: Iterable[str], score: float = 0.0) -> list[tuple[str, float]]:
    return [(token, score) for token in tokens]


def _count(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or not 0 <= value <= 10_000:
        raise CheckpointError(f"tokenizer_config.json: {key} must be a number from 0 to 10,000, but is {value!r}")
    return value


def _set_rules(tokenizer: tokenizers.Tokenizer, pieces: Pieces, name: str, config: Mapping[str, Any]) -> None:
    """Normalisation, the marks of spaces, and the way back from them."""
    if name == "LlamaTokenizer":
        _set_llama_rules(tokenizer, config)
        return
    metaspace = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=True)
    rules: list[normalizers.Normalizer] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if name in ("T5Tokenizer", "XLMRobertaTokenizer", "MBartTokenizer"):
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    else:
        if name == "PegasusTokenizer" and not rules:
            rules = [normalizers.Replace("\n", " ")]
        rules.append(normalizers.Replace(tokenizers.Regex(" {2,}"), " "))
        tokenizer.pre_tokenizer = metaspace
    if rules:
        tokenizer.normalizer = normalizers.Sequence(rules) if len(rules) > 1 else rules[0]
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always", split=True)


def _set_llama_rules(tokenizer: tokenizers.Tokenizer, config: Mapping[str, Any]) -> None:
    """A space before the text, or, as first it was (`legacy`), before all that follows a special token.

    The old way is SentencePiece's: it adds a space to a text that begins with one, too.
    """
    has_prefix = config.get("add_prefix_space") is not False
    back: list[decoders.Decoder] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, decoders.Strip(" ", 1, 0)] if has_prefix else back)
    if config.get("legacy") is False or not has_prefix:
        scheme: Any = "first" if has_prefix else "never"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])


class PieceEngine:
    """SentencePiece with a vocabulary beside it: Marian's (two models, of source and target), M2M-100's (one)."""

    algorithm = "SentencePiece"
    is_byte_level = False
    word_end = ""

    def __init__(self, files: Mapping[str, bytes], config: Mapping[str, Any], origin: str) -> None:
        """files: the bytes of source.spm, target.spm, vocab.json and perhaps target_vocab.json, or of vocab.json and
        sentencepiece.bpe.model."""
        source = next((name for name in ("source.spm", "sentencepiece.bpe.model") if name in files), "source.spm")
        self._source = _processor(files, source, origin)
        self._target = _processor(files, "target.spm", origin) if source == "source.spm" else self._source
        self._ids = _vocabulary_file(files, "vocab.json", origin)
        codes = [f"__{code}__" for code in language_codes(config)]
        self._ids |= {code: len(self._ids) + number for number, code in enumerate(codes)}
        separate = bool(config.get("separate_vocabs"))
        self._target_ids = _vocabulary_file(files, "target_vocab.json", origin) if separate else self._ids
        self._tokens = {i: token for token, i in self._target_ids.items()}
        self.size = max(*self._ids.values(), *self._target_ids.values()) + 1
        unknown = token_text(config.get("unk_token")) or "<unk>"
        if unknown not in self._ids or unknown not in self._target_ids:
            raise CheckpointError(f"{origin} has no unk_token: {unknown!r} is not in its vocabulary")
        self._unknown = unknown
        tags = (token for token in self._ids if TAG.fullmatch(token))
        specials = [*(token for token in special_tokens(config) if token in self._ids), *tags, *codes]
        self.special_ids = frozenset(self._ids[token] for token in specials)
        self.held_ids = frozenset(i for i, token in self._tokens.items() if _BYTE.fullmatch(token))
        longest_first = sorted(specials, key=len, reverse=True)
        self._special = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def token_id(self, token: str) -> int | None:
        return self._ids.get(token)

    def token(self, token_id: int) -> str | None:
        return self._tokens.get(token_id)

    def ids(self, texts: Sequence[str], special: bool, parse_special: bool, target: bool = False) -> list[list[int]]:
        """The ids of each text; nothing is added around it, whatever `special` says: that is for the caller."""
        return [self._ids_of(text, parse_special, target) for text in texts]

    def encoding(self, first: str, second: str | None, special: bool, parse_special: bool) -> Encoding:
        """Two texts one after the other, as Transformers has it. Which characters a token is of is not known."""
        texts = [first] if second is None else [first, second]
        parts = self.ids(texts, special, parse_special)
        segments: list[int | None] = [number for number, ids in enumerate(parts) for _ in ids]
        ids = [i for part in parts for i in part]
        return Encoding(ids, [0] * len(ids), [(0, 0)] * len(ids), segments)

    def decode(self, ids: Sequence[int]) -> str:
        pieces = [self._tokens.get(i, "") for i in ids]
        return str(self._target.decode_pieces(pieces)).replace(SPACE, " ")

    def normalise(self, text: str) -> str:
        return str(self._source.normalize(text)).replace(SPACE, " ").strip()

    def _ids_of(self, text: str, parse_special: bool, target: bool) -> list[int]:
        model, ids = (self._target, self._target_ids) if target else (self._source, self._ids)
        parts = self._special.split(text) if parse_special else [text]
        pieces: list[str] = []
        for number, part in enumerate(parts):
            pieces += [part] if number % 2 else model.encode(part, out_type=str)
        return [ids.get(piece, ids[self._unknown]) for piece in pieces]


def _processor(files: Mapping[str, bytes], name: str, origin: str) -> "SentencePieceProcessor":
    from sentencepiece import SentencePieceProcessor

    if name not in files:
        raise CheckpointError(f"{origin} has no {name}")
    Pieces.parse(files[name], f"{origin}: {name}")
    try:
        return SentencePieceProcessor(model_proto=files[name])
    except Exception as error:  # SentencePiece raises RuntimeError and others of its own
        raise CheckpointError(f"{origin}: {name} is no SentencePiece model: {error}") from None


def _vocabulary_file(files: Mapping[str, bytes], name: str, origin: str) -> dict[str, int]:
    if name not in files:
        raise CheckpointError(f"{origin} has no {name}")
    return json_vocabulary(files[name], f"{origin}: {name}")
