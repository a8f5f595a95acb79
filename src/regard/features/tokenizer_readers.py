"""Vocabulary files made into tokenizers: BERT's vocab.txt, byte-level BPE's vocab.json with merges.txt, SentencePiece.

Byte-level BPE comes in kinds that cut words differently: GPT-2's (RoBERTa's, BART's, Whisper's), Qwen2's and CLIP's.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from regard.errors import CheckpointError
from regard.features.sentencepiece_model import MODEL_CLASSES, Pieces, tokenizer_of
from regard.features.tokenizer_engine import add_tokens
from regard.features.tokenizer_families import token_text, with_roles
from regard.features.vocabulary import json_vocabulary, line_vocabulary, merges

Files = Mapping[str, bytes]
Config = Mapping[str, Any]

_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_BYTE_PAIRS = ("GPT2Tokenizer", "RobertaTokenizer", "WhisperTokenizer", "Qwen2Tokenizer", "CLIPTokenizer")

# What stands around a text, and around two: roles, and the numbers of token types. Languages are added with each text.
_FRAMES = {
    "BertTokenizer": ("cls:0 $A:0 sep:0", "cls:0 $A:0 sep:0 $B:1 sep:1"),
    "XLMRobertaTokenizer": ("bos:0 $A:0 eos:0", "bos:0 $A:0 eos:0 eos:0 $B:0 eos:0"),
    "T5Tokenizer": ("$A:0 eos:0", "$A:0 eos:0 $B:0 eos:0"),
    "PegasusTokenizer": ("$A:0 eos:0", "$A:0 $B:0 eos:0"),
}


def read_tokenizer(files: Files, name: str, config: Config, directory: Path) -> tokenizers.Tokenizer:
    """The tokenizer of the file `name`, with what its class puts around a text. `config` names the class.

    Raises CheckpointError for a file, or a class, that Regard does not know, and for special tokens that are missing.
    """
    readers: dict[str, tuple[Callable[[Files, Config, str], tokenizers.Tokenizer], tuple[str, ...]]] = {
        "vocab.txt": (_word_pieces, ("BertTokenizer",)),
        "vocab.json": (_byte_pairs, _BYTE_PAIRS),
    }
    reader, classes = readers.get(name, (_sentence_pieces, MODEL_CLASSES))
    origin = str(directory / name)
    if config["tokenizer_class"] not in classes:
        known = ", ".join(classes)
        raise CheckpointError(f"{origin} is a {config['tokenizer_class']}'s: Regard reads such a file of {known}")
    filled = with_roles(config)
    try:
        tokenizer = reader(files, filled, origin)
    except CheckpointError:
        raise
    except Exception as error:  # the Rust library raises Exception itself
        raise CheckpointError(f"cannot make a tokenizer of {origin}: {error}") from None
    add_tokens(tokenizer, filled, origin)
    _set_frame(tokenizer, filled, origin)
    return tokenizer


def _word_pieces(files: Files, config: Config, origin: str) -> tokenizers.Tokenizer:
    """BERT's: white space and punctuation, then the longest pieces."""
    vocabulary = line_vocabulary(files["vocab.txt"], origin)
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=token_text(config["unk_token"])))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _byte_pairs(files: Files, config: Config, origin: str) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE, and RoBERTa's, BART's and Whisper's; Qwen2 and CLIP cut words by rules of their own."""
    name = config["tokenizer_class"]
    is_clip = name == "CLIPTokenizer"
    model = models.BPE(
        vocab=json_vocabulary(files["vocab.json"], origin),
        merges=merges(files["merges.txt"], str(Path(origin).with_name("merges.txt"))),
        continuing_subword_prefix="",
        end_of_word_suffix="</w>" if is_clip else "",
        unk_token=token_text(config["unk_token"]) if is_clip else None,
        fuse_unk=False,
    )
    tokenizer = tokenizers.Tokenizer(model)
    prefix = bool(config.get("add_prefix_space"))
    if is_clip:
        squeezed = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), squeezed, normalizers.Lowercase()])
        words = pre_tokenizers.Split(tokenizers.Regex(_CLIP_WORDS), behavior="removed", invert=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    elif name == "Qwen2Tokenizer":
        tokenizer.normalizer = normalizers.NFC()
        words = pre_tokenizers.Split(tokenizers.Regex(_QWEN2_WORDS), behavior="isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, byte_level])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_pieces(files: Files, config: Config, origin: str) -> tokenizers.Tokenizer:
    return tokenizer_of(Pieces.parse(files[Path(origin).name], origin), config)


def _set_frame(tokenizer: tokenizers.Tokenizer, config: Config, origin: str) -> None:
    name = config["tokenizer_class"]

    def known(role: str) -> tuple[str, int]:
        """A special token by its role, or, of Whisper, by itself, and its id."""
        token = role if role.startswith("<|") else token_text(config.get(f"{role}_token"))
        token_id = None if token is None else tokenizer.token_to_id(token)
        if token is None or token_id is None:
            raise CheckpointError(f"{origin} has no {role} token: {token!r} is not in its vocabulary")
        return token, token_id

    if name == "RobertaTokenizer":
        trim, prefix = bool(config.get("trim_offsets", True)), bool(config.get("add_prefix_space"))
        tokenizer.post_processor = processors.RobertaProcessing(known("sep"), known("cls"), trim, prefix)
    elif name == "CLIPTokenizer":
        tokenizer.post_processor = processors.RobertaProcessing(known("eos"), known("bos"), False, False)
    elif name not in ("MBartTokenizer", "MBart50Tokenizer", "NllbTokenizer"):
        templates = [template.split() for template in _FRAMES.get(name) or _asked_frame(name, config)]
        words = {word.split(":")[0] for template in templates for word in template}
        tokens = {role: known(role) for role in sorted(words) if not role.startswith("$")}
        single, pair = ([_spelled(word, tokens) for word in template] for template in templates)
        tokenizer.post_processor = processors.TemplateProcessing(single, pair, list(set(tokens.values())))


def _asked_frame(name: str, config: Config) -> tuple[str, str]:
    """The frames that a config chooses: bos and eos, or Whisper's prompt."""
    if name == "WhisperTokenizer":
        asked = [f"<|{config[key]}|>" for key in ("language", "task") if config.get(key)]
        plain = [] if config.get("predict_timestamps") else ["<|notimestamps|>"]
        prompt = " ".join(f"{token}:0" for token in ("<|startoftranscript|>", *asked, *plain))
        return f"{prompt} $A:0 eos:0", f"{prompt} $A:0 $B:1 eos:1"
    first = "bos:{0} " if config.get("add_bos_token", name == "LlamaTokenizer") else ""
    last = " eos:{0}" if config.get("add_eos_token") else ""
    single = f"{first}$A:{{0}}{last}".format(0)
    return single, f"{single} {first}$B:{{0}}{last}".format(1)


def _spelled(word: str, tokens: Mapping[str, tuple[str, int]]) -> str:
    role, _, type_id = word.rpartition(":")
    return word if role not in tokens else f"{tokens[role][0]}:{type_id}"
