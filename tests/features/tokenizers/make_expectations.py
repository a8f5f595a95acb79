"""What Hugging Face Transformers makes of the texts in awkward_texts.py, with the tokenizers of tiny_tokenizers.py.

Run where torch is not needed but transformers, sentencepiece and protobuf are (the extra `oracle`):
    python tests/features/tokenizers/make_expectations.py
It writes expectations.json beside itself. A digest stands for each text, ids in full for a few.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import awkward_texts as texts
import chat_cases as chats
import tiny_tokenizers as vocabularies
import tokenizer_cases as cases
import transformers

HERE = Path(__file__).resolve().parent
transformers.logging.set_verbosity_error()


def recorded(family: str, directory: Path) -> dict[str, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(vocabularies.write(family, directory)))
    ids = [tokenizer(text).input_ids for text in texts.many()]
    plain = [tokenizer(text, add_special_tokens=False).input_ids for text in texts.many()]
    decoded = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    spelled = [tokenizer(text).input_ids for text in cases.spelled(family)]
    noise = cases.random_ids(family, len(tokenizer))
    values = {
        "class": type(tokenizer).__name__,
        "size": len(tokenizer),
        "roles": {role: getattr(tokenizer, f"{role}_token_id") for role in cases.ROLES},
        "shown": ids[: cases.SHOWN],
        "texts": cases.digests(zip(ids, plain, decoded, strict=True)),
        "spelled": spelled,
        "noise": cases.digests(tokenizer.decode(row, skip_special_tokens=True) for row in noise),
    }
    if tokenizer.is_fast:
        pairs = [pair_of(tokenizer, first, second) for first, second in cases.pairs()]
        values |= {"pairs": cases.digests(pairs), "cut": cuts(tokenizer)}
    if family in cases.LANGUAGES:
        values["languages"] = languages(tokenizer, family)
    return values


def pair_of(tokenizer: Any, first: str, second: str, **options: Any) -> list[Any]:
    found = tokenizer(first, second, return_offsets_mapping=True, return_token_type_ids=True, **options)
    offsets = [list(pair) for pair in found.offset_mapping]
    return [found.input_ids, found.token_type_ids, offsets, found.sequence_ids(0)]


def cuts(tokenizer: Any) -> dict[str, str]:
    """Truncation of one text and of pairs, and windows over a long second text."""
    one = [
        tokenizer(text, truncation=True, max_length=length).input_ids
        for text in texts.SENTENCES
        for length in cases.LENGTHS
    ]
    two = [
        pair_of(tokenizer, first, second, truncation="longest_first", max_length=length)
        for first, second in cases.pairs()[:40]
        for length in cases.LENGTHS
    ]
    windows = [
        tokenizer(
            *cases.CONTEXT,
            truncation="only_second",
            max_length=length,
            stride=stride,
            return_overflowing_tokens=True,
        ).input_ids
        for length, stride in cases.STRIDES
    ]
    return {"one": cases.digests(one), "two": cases.digests(two), "windows": cases.digests(windows)}


def languages(tokenizer: Any, family: str) -> list[list[int]]:
    """The same text in two languages, as a source and as a target."""
    found = []
    for code in cases.LANGUAGES[family]:
        if hasattr(tokenizer, "src_lang"):
            tokenizer.src_lang = tokenizer.tgt_lang = code
        found += [tokenizer(cases.SAID).input_ids, tokenizer(text_target=cases.SAID).input_ids]
    return found


def chat(name: str) -> str:
    template, options = chats.CHATS[name]
    options = dict(options)
    tokens = {key: value for key, value in chats.TOKENS.items() if value is not None}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=chats.letters(), **tokens)
    return tokenizer.apply_chat_template(
        options.pop("messages"), chat_template=template, tokenize=False, **options.pop("variables", {}), **options
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        families = {family: recorded(family, Path(directory) / family) for family in vocabularies.FAMILIES}
    versions = {name: sys.modules[name].__version__ for name in ("transformers", "tokenizers", "sentencepiece")}
    values = {"made_with": versions, "families": families, "chats": {name: chat(name) for name in chats.CHATS}}
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    (HERE / "expectations.json").write_text(text.replace('},"', '},\n"') + "\n", "utf-8")


if __name__ == "__main__":
    main()
