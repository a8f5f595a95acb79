"""The tokenizer of a model directory: which files hold it, what they say together, and as one tokenizer.json.

tokenizer.json is taken as it is; `tokenizer_readers` makes one of other files. Nothing is ever run from a directory,
and no file is opened because a config names it.
"""

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from regard.errors import CheckpointError
from regard.features.sentencepiece_model import MODEL_FILES
from regard.features.tokenizer_families import class_of_model, special_tokens, tokenizer_class
from regard.features.tokenizer_readers import read_tokenizer
from regard.features.vocabulary import json_object

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
_SPECIALS, _ADDED, _CHAT, _SENTENCES = (
    *("special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "sentence_bert_config.json"),
)
# What belongs to a tokenizer, and goes along when it is saved.
NAMES = (
    *(TOKENIZER, CONFIG, _SPECIALS, _ADDED, _CHAT, _SENTENCES, "vocab.txt", "vocab.json", "merges.txt", *MODEL_FILES),
    *("source.spm", "target.spm", "target_vocab.json", "normalizer.json"),
)
CHAT_TEMPLATES = "chat_templates"  # a directory of more of them
_LARGEST = 256 * 2**20  # bytes; the largest tokenizer.json seen has 35 MB
_LOOKED_FOR = (
    "tokenizer.json, vocab.txt, vocab.json with merges.txt, spiece.model, sentencepiece.bpe.model, tokenizer.model, "
    "or source.spm and target.spm with vocab.json"
)

Files = dict[str, bytes]
Config = dict[str, Any]


class Found(NamedTuple):
    """A tokenizer.json, read or made; what all configs say together; where it stood; the files as they are."""

    content: bytes
    config: Config
    origin: str
    files: Files


def find(path: Path) -> Found:
    """The tokenizer of a directory, or of one tokenizer.json. Raises CheckpointError where there is none."""
    if not path.is_dir():
        names = {path.name: TOKENIZER, CONFIG: CONFIG}
        files = {as_name: content for name, as_name in names.items() if (content := _read(path.with_name(name)))}
        if TOKENIZER not in files:
            raise CheckpointError(f"cannot read the tokenizer {path}: it is no directory, and no {TOKENIZER}")
        return Found(files[TOKENIZER], _config(files, {}, path.parent), str(path), files)
    files = {name: content for name in NAMES if (content := _read(path / name)) is not None}
    files |= {
        f"{CHAT_TEMPLATES}/{file.name}": _read(file) or b"" for file in sorted((path / CHAT_TEMPLATES).glob("*.jinja"))
    }
    model = _read(path / "config.json")
    model_config = {} if model is None else json_object(model, str(path / "config.json"))
    config = _config(files, model_config, path)
    origin = path / TOKENIZER if TOKENIZER in files else path
    return Found(_content(files, config, model_config, path), config, str(origin), files)


def is_wrapped(files: Mapping[str, bytes]) -> bool:
    """Whether SentencePiece cuts the text, and a vocab.json has the ids: Marian and M2M-100."""
    models = "source.spm" in files or "sentencepiece.bpe.model" in files
    return models and "vocab.json" in files and not {TOKENIZER, "vocab.txt", "merges.txt"} & files.keys()


def _read(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise CheckpointError(f"{path} must be a file of at most {_LARGEST:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _config(files: Files, model_config: Config, directory: Path) -> Config:
    """tokenizer_config.json with what older files beside it say: special tokens, added tokens, chat templates."""

    def parsed(name: str) -> Config:
        return json_object(files[name], str(directory / name)) if name in files else {}

    config = parsed(CONFIG)
    if "added_tokens_decoder" not in config:  # as Transformers: where it is, it is all
        config |= parsed(_SPECIALS)
        if added := parsed(_ADDED):
            specials = special_tokens(config)
            config["added_tokens_decoder"] = {
                token_id: {"content": token, "special": token in specials, "normalized": token not in specials}
                for token, token_id in added.items()
            }
    name = tokenizer_class(config, model_config)
    if name or config or TOKENIZER not in files:
        config["tokenizer_class"] = name or ("PreTrainedTokenizerFast" if TOKENIZER in files else "")
    sentences = parsed(_SENTENCES).get("max_seq_length")
    if sentences is not None:
        config["model_max_length"] = sentences
    templates = {Path(name).stem: name for name in files if name.startswith(f"{CHAT_TEMPLATES}/")}
    templates |= {"default": _CHAT} if _CHAT in files else {}
    if templates:
        config["chat_template"] = {key: _decoded(files[name], directory / name) for key, name in templates.items()}
    return config


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def _content(files: Files, config: Config, model_config: Config, directory: Path) -> bytes:
    """tokenizer.json, or another file made into one; sets the class in the config that the files are read by."""
    if TOKENIZER in files:
        return files[TOKENIZER]
    if is_wrapped(files):
        config["tokenizer_class"] = "MarianTokenizer" if "source.spm" in files else "M2M100Tokenizer"
        hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        return json.dumps({"model": {"type": "SentencePiece"}, "files": hashes}).encode()
    found = next((name for name in ("vocab.txt", "merges.txt", *MODEL_FILES) if name in files), None)
    found = "vocab.json" if found == "merges.txt" and "vocab.json" in files else found
    if found is None or found == "merges.txt":
        raise CheckpointError(f"{directory} has no tokenizer: none of {_LOOKED_FOR}")
    defaults = {"vocab.txt": "BertTokenizer", "vocab.json": "GPT2Tokenizer", **MODEL_FILES}
    config["tokenizer_class"] = config["tokenizer_class"] or class_of_model(model_config) or defaults[found]
    return read_tokenizer(files, found, config, directory).to_str().encode()
