"""What stands beside the weights and is no business of the model: it goes along when a loaded model is saved."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from regard.interop.directory import LARGEST_JSON, MODULES

COMPANIONS = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "normalizer.json", "preprocessor_config.json", "processor_config.json"),
    *("source.spm", "target.spm", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "target_vocab.json"),
    *("sentence_bert_config.json", "config_sentence_transformers.json", "chat_template.json"),
)
CHAT_TEMPLATES = "chat_templates"  # a directory of more of them, by name
MOST_FILES = 1000  # of its modules


def companions_of(place: Path) -> Mapping[str, Callable[[], bytes]]:
    """The files that go along, by their path in the directory, unread."""
    names = [name for name in COMPANIONS if (place / name).is_file()]
    templates = sorted(path for path in (place / CHAT_TEMPLATES).glob("*.jinja") if path.is_file())
    names += [f"{CHAT_TEMPLATES}/{path.name}" for path in templates]
    if (place / MODULES).is_file():
        names += [MODULES, *_of_modules(place)]
    return {name: (place / name).read_bytes for name in names}


def _of_modules(place: Path) -> Iterator[str]:
    """The files of the modules that have a directory of their own: a pooling's, a dense layer's."""
    for module in module_directories(place):
        files = (path for path in sorted((place / module).rglob("*")) if path.is_file())
        yield from (path.relative_to(place).as_posix() for path in islice(files, MOST_FILES))


def module_directories(place: Path) -> list[str]:
    """The directories beside modules.json that it names; [] where it is no such file: who reads it will complain."""
    try:
        if (place / MODULES).stat().st_size > LARGEST_JSON:
            return []
        named = [module["path"] for module in json.loads((place / MODULES).read_text("utf-8"))]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []
    return [name for name in named if isinstance(name, str) and _is_beside(name)]


def _is_beside(name: str) -> bool:
    return name not in ("", ".", "..") and PurePosixPath(name).name == name


def write_companions(companions: Mapping[str, Callable[[], bytes]], directory: Path) -> None:
    for name, content in companions.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content())
