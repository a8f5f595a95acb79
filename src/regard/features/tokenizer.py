"""Text <-> token ids: one joint tokenizer for source and target, trained here or loaded from a `tokenizer.json`.

The layout is Marian's: `</s>` is id 0, `<unk>` id 1, then language tags such as `>>de<<`, then learned pieces, and
`<pad>` is the last id. Special tokens are ids, never text: a user who types `</s>` gets ordinary pieces.
"""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from regard.config import TokenizerConfig
from regard.errors import CheckpointError, ConfigError, DataError, InputError

logger = logging.getLogger(__name__)

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"
_DEFAULT_ROLES = {"eos_token": EOS, "unk_token": UNK, "pad_token": PAD}
_BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]

# Letters with their marks, single digits, runs of punctuation, white space; a space leads the word after it. Every
# special token mixes these classes, so none can be learned or matched as one piece.
_WORDS = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
_TAG = re.compile(r">>[A-Za-z0-9][\w.-]*<<")
_SURROGATE = re.compile("[\ud800-\udfff]")

_NORMALIZERS = {"none": None, "nfc": normalizers.NFC(), "nfkc": normalizers.NFKC()}


class Tokenizer:
    """A `tokenizers.Tokenizer` that never truncates, never pads, and takes no special token from text."""

    def __init__(self, content: bytes, config: dict[str, Any], origin: str = "tokenizer") -> None:
        """`content` is the bytes of a tokenizer.json, `config` those of its tokenizer_config.json, parsed."""
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as error:  # the Rust library raises Exception itself
            raise CheckpointError(f"{origin} is not a tokenizer.json that this version reads: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._content, self._config = content, config
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size: int = max(vocabulary.values(), default=-1) + 1
        self.eos_id, self.unk_id, self.pad_id = (_role_id(role, vocabulary, config, origin) for role in _DEFAULT_ROLES)
        self._special_ids = {i for i, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        self._is_byte_level = "ByteLevel" in str(json.loads(content).get("decoder"))

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a tokenizer.json, or the directory that holds one; CheckpointError where there is none."""
        file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise CheckpointError(f"cannot read the tokenizer {file}: {error.strerror}") from error
        return cls(content, _read_config(file.with_name("tokenizer_config.json")), origin=str(file))

    @classmethod
    def train(cls, lines: Iterable[str], config: TokenizerConfig, tags: Sequence[str] = ()) -> "Tokenizer":
        """Learn the pieces from `lines` (source and target together).

        The vocabulary has exactly `config.vocab_size` ids where the lines can fill it; fewer otherwise, with a warning.
        Equal lines give equal bytes with bpe; unigram's trainer may break near-ties otherwise in another process, and
        holds all lines in memory.
        """
        specials = _special_tokens(tags, config)
        clean = (_SURROGATE.sub("\ufffd", line) for line in lines)
        train = _train_bpe if config.algorithm == "bpe" else _train_unigram
        tokenizer = train(clean, config, specials)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {EOS}", pair=f"$A $B {EOS}", special_tokens=[(EOS, 0)]
        )
        # A tag swallows the space after it, so that ">>de<< Hello" in Transformers is the tag, then "Hello".
        tokenizer.add_special_tokens([tokenizers.AddedToken(tag, rstrip=True, special=True) for tag in tags])
        tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in (EOS, UNK, PAD)])
        trained = cls(tokenizer.to_str(pretty=True).encode(), _new_config(tags))
        if trained.vocab_size < config.vocab_size:
            logger.warning(
                "the corpus gives a vocabulary of %d tokens only, below tokenizer.vocab_size = %d",
                *(trained.vocab_size, config.vocab_size),
            )
        return trained

    def save(self, directory: str | Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which Transformers loads as PreTrainedTokenizerFast."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        config = json.dumps(self._config, indent=2, ensure_ascii=False) + "\n"
        (directory / "tokenizer_config.json").write_text(config, "utf-8")
        (directory / "tokenizer.json").write_bytes(self._content)

    def encode(self, text: str, tag: str | None = None) -> list[int]:
        """The ids of a text with eos at the end, after the id of `tag` if there is one.

        Lone surrogates, which are no characters, become U+FFFD. A tag that the tokenizer lacks is an InputError.
        """
        ids: list[int] = self._tokenizer.encode(_SURROGATE.sub("\ufffd", text)).ids
        return ids if tag is None else [self._known_tag(tag), *ids]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, in parallel threads."""
        clean = [_SURROGATE.sub("\ufffd", text) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens are left out. `decode(encode(text)) == normalise(text)`."""
        text: str = self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)
        return text

    def normalise(self, text: str) -> str:
        """What a text becomes before it is cut into pieces."""
        clean = _SURROGATE.sub("\ufffd", text)
        normalizer = self._tokenizer.normalizer
        return clean if normalizer is None else str(normalizer.normalize_str(clean))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Readable pieces, one an id: spaces show as ▁, parts of a character as \\xe4\\xbd."""
        return [self._readable(int(i)) for i in ids]

    def tag_id(self, tag: str) -> int | None:
        """The id of a language tag such as `>>de<<`; None where the tokenizer has no such tag."""
        return self._tokenizer.token_to_id(tag) if _TAG.fullmatch(tag) else None

    @property
    def tags(self) -> list[str]:
        """The language tags, by id."""
        pieces = (self._tokenizer.id_to_token(i) for i in sorted(self._special_ids))
        return [piece for piece in pieces if piece is not None and _TAG.fullmatch(piece)]

    @property
    def content(self) -> bytes:
        """The bytes of tokenizer.json."""
        return self._content

    @property
    def content_hash(self) -> str:
        """SHA-256 of the bytes of tokenizer.json."""
        return hashlib.sha256(self._content).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self._content, self._config)

    def _known_tag(self, tag: str) -> int:
        tag_id = self.tag_id(tag)
        if tag_id is None:
            known = ", ".join(self.tags) or "none"
            raise InputError(f"the tokenizer has no language tag {tag}: it knows {known}")
        return tag_id

    def _readable(self, token_id: int) -> str:
        piece = self._tokenizer.id_to_token(token_id)
        if piece is None:
            return f"<{token_id}?>"
        as_text = token_id in self._special_ids or not self._is_byte_level
        if as_text or not _BYTE_OF_CHARACTER.keys() >= set(piece):  # an added token may be text in byte-level BPE too
            return piece.replace(" ", "▁")
        raw = bytes(_BYTE_OF_CHARACTER[character] for character in piece)
        return raw.decode("utf-8", "backslashreplace").replace(" ", "▁")


def _special_tokens(tags: Sequence[str], config: TokenizerConfig) -> list[str]:
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise ConfigError(f"a language tag must look like >>de<<, but is {tag!r}")
    if len(set(tags)) != len(tags):
        raise ConfigError(f"language tags must differ from each other, but are {', '.join(tags)}")
    if config.coverage < 1 and config.algorithm == "bpe":
        raise ConfigError("tokenizer.coverage is for unigram: byte-level bpe covers every character; leave it out")
    learned = 1 if config.algorithm == "bpe" else 2  # unigram's trainer overshoots if it has room for one alone
    least = len(_BYTE_PIECES) + len(tags) + len(_DEFAULT_ROLES) + learned
    if config.vocab_size < least:
        raise ConfigError(
            f"tokenizer.vocab_size must be at least {least} (256 bytes, {len(tags)} language tags, 3 special "
            f"tokens and {learned} to learn), but is {config.vocab_size}"
        )
    return [EOS, UNK, *tags]


def _train_bpe(lines: Iterable[str], config: TokenizerConfig, specials: list[str]) -> tokenizers.Tokenizer:
    """Byte-level BPE: any text is a sequence of the 256 bytes, so nothing is ever unknown."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    _set_normalizer(tokenizer, config)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_split_words(), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - 1,  # <pad> comes last
        min_frequency=2,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def _train_unigram(lines: Iterable[str], config: TokenizerConfig, specials: list[str]) -> tokenizers.Tokenizer:
    """Unigram over characters; a character without a piece of its own is spelled in its UTF-8 bytes.

    Spaces stay spaces inside the pieces (no ▁ of Metaspace), so that a text with ▁ in it also survives.
    """
    texts = list(lines)
    room = config.vocab_size - 1 - len(_BYTE_PIECES)
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    _set_normalizer(tokenizer, config)
    tokenizer.pre_tokenizer = _split_words()
    trainer = trainers.UnigramTrainer(vocab_size=room, special_tokens=specials, unk_token=UNK, show_progress=False)
    kept = _covered_characters(texts, config, room - len(specials) - 1)  # the trainer overshoots if no piece is left
    try:
        tokenizer.train_from_iterator(_cut_at_others(texts, kept), trainer)
    except Exception as error:  # the Rust library raises Exception itself
        raise DataError(f"the corpus is too small for a unigram tokenizer ({error}): use more text, or bpe") from None
    state = json.loads(tokenizer.to_str())
    pieces = [(piece, round(score, 6)) for piece, score in state["model"]["vocab"]]
    reserved = [*pieces[: len(specials)], *((piece, 0.0) for piece in _BYTE_PIECES)]
    # The trainer sums and sorts in the order of a hash table, which differs from process to process.
    learned = sorted(pieces[len(specials) :], key=lambda item: (-item[1], item[0]))
    state["model"] |= {"vocab": reserved + learned, "byte_fallback": True}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _set_normalizer(tokenizer: tokenizers.Tokenizer, config: TokenizerConfig) -> None:
    normalizer = _NORMALIZERS[config.normalizer]
    if normalizer is not None:
        tokenizer.normalizer = normalizer


def _split_words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="isolated")


def _covered_characters(texts: Sequence[str], config: TokenizerConfig, room: int) -> set[str]:
    """The most frequent characters that make up `coverage` of the text, as far as the vocabulary has room."""
    normalizer = _NORMALIZERS[config.normalizer]
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text if normalizer is None else normalizer.normalize_str(text))
    del counts["\0"]  # the trainer's own mark between words
    wanted = config.coverage * counts.total()
    kept: set[str] = set()
    seen = 0
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if seen >= wanted:
            break
        if len(kept) == room:
            share = seen / counts.total()
            logger.warning("tokenizer.vocab_size has room for %.4f %% of the characters seen", 100 * share)
            break
        kept.add(character)
        seen += count
    return kept


def _cut_at_others(texts: Iterable[str], kept: set[str]) -> Iterator[str]:
    """The texts in parts that hold covered characters only: the trainer makes a piece of every character it sees."""
    others = re.compile("[^" + "".join(re.escape(character) for character in sorted(kept)) + "]+")
    for text in texts:
        yield from filter(None, others.split(text))


def _new_config(tags: Sequence[str]) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **_DEFAULT_ROLES,
        "additional_special_tokens": list(tags),
        "clean_up_tokenization_spaces": False,
    }


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return _new_config(())
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} must hold a JSON object, but holds {type(config).__name__}")
    return config


def _role_id(role: str, vocabulary: dict[str, int], config: dict[str, Any], origin: str) -> int:
    token = config.get(role) or _DEFAULT_ROLES[role]
    name = token.get("content") if isinstance(token, dict) else token
    if name not in vocabulary:
        raise CheckpointError(f"{origin} has no {role}: {name!r} is not in its vocabulary")
    return vocabulary[name]


def _byte_alphabet() -> dict[str, int]:
    """Byte-level BPE's printable character of each byte (Radford et al. 2019): itself, or one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_alphabet()
