"""Training a joint tokenizer of source and target, in Marian's layout.

`</s>` is id 0, `<unk>` id 1, then language tags such as `>>de<<`, then learned pieces, and `<pad>` is the last id.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from regard.errors import ConfigError, DataError
from regard.features.sentencepiece_model import TAG

if TYPE_CHECKING:  # which reading a text does without, and pydantic takes as long to import as all the rest
    from regard.config import TokenizerConfig

logger = logging.getLogger(__name__)

EOS, UNK, PAD = "</s>", "<unk>", "<pad>"
SURROGATE = re.compile("[\ud800-\udfff]")
_ROLES = {"eos_token": EOS, "unk_token": UNK, "pad_token": PAD}
_BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]

# Letters with their marks, single digits, runs of punctuation, white space; a space leads the word after it. Every
# special token mixes these classes, so none can be learned or matched as one piece.
_WORDS = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"

_NORMALIZERS = {"none": None, "nfc": normalizers.NFC(), "nfkc": normalizers.NFKC()}


def train(lines: Iterable[str], config: "TokenizerConfig", tags: Sequence[str] = ()) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a tokenizer.json, learned from `lines` (source and target together), and its tokenizer_config.json.

    As `Tokenizer.train` has it.
    """
    specials = _special_tokens(tags, config)
    clean = (SURROGATE.sub("\ufffd", line) for line in lines)
    learn = _train_bpe if config.algorithm == "bpe" else _train_unigram
    tokenizer = learn(clean, config, specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A $B {EOS}", special_tokens=[(EOS, 0)]
    )
    # A tag swallows the space after it, so that ">>de<< Hello" in Transformers is the tag, then "Hello".
    tokenizer.add_special_tokens([tokenizers.AddedToken(tag, rstrip=True, special=True) for tag in tags])
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in (EOS, UNK, PAD)])
    size = tokenizer.get_vocab_size()
    if size < config.vocab_size:
        logger.warning(
            "the corpus gives a vocabulary of %d tokens only, below tokenizer.vocab_size = %d", size, config.vocab_size
        )
    return tokenizer.to_str(pretty=True).encode(), _config(tags)


def _config(tags: Sequence[str]) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **_ROLES,
        "additional_special_tokens": list(tags),
        "clean_up_tokenization_spaces": False,
    }


def _special_tokens(tags: Sequence[str], config: "TokenizerConfig") -> list[str]:
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise ConfigError(f"a language tag must look like >>de<<, but is {tag!r}")
    if len(set(tags)) != len(tags):
        raise ConfigError(f"language tags must differ from each other, but are {', '.join(tags)}")
    if config.coverage < 1 and config.algorithm == "bpe":
        raise ConfigError("tokenizer.coverage is for unigram: byte-level bpe covers every character; leave it out")
    learned = 1 if config.algorithm == "bpe" else 2  # unigram's trainer overshoots if it has room for one alone
    least = len(_BYTE_PIECES) + len(tags) + len(_ROLES) + learned
    if config.vocab_size < least:
        raise ConfigError(
            f"tokenizer.vocab_size must be at least {least} (256 bytes, {len(tags)} language tags, 3 special "
            f"tokens and {learned} to learn), but is {config.vocab_size}"
        )
    return [EOS, UNK, *tags]


def _train_bpe(lines: Iterable[str], config: "TokenizerConfig", specials: list[str]) -> tokenizers.Tokenizer:
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


def _train_unigram(lines: Iterable[str], config: "TokenizerConfig", specials: list[str]) -> tokenizers.Tokenizer:
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


def _set_normalizer(tokenizer: tokenizers.Tokenizer, config: "TokenizerConfig") -> None:
    normalizer = _NORMALIZERS[config.normalizer]
    if normalizer is not None:
        tokenizer.normalizer = normalizer


def _split_words() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="isolated")


def _covered_characters(texts: Sequence[str], config: "TokenizerConfig", room: int) -> set[str]:
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
