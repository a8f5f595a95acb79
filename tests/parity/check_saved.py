"""What Regard saves, Transformers loads without a word, and CTranslate2 converts: in two interpreters, by hand.

    python tests/parity/check_saved.py write DIRECTORY   # where Regard is: every case, loaded and saved
    python tests/parity/check_saved.py read DIRECTORY    # where the extra `oracle` is: torch, transformers, ctranslate2

`read` prints a line for each case, and exits with 1 if one of them had something to say.
"""

import json
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/case.json"))
CONVERTED = ("bart", "gpt2", "llama", "mistral", "pegasus", "qwen2", "qwen3", "t5")  # their tables alone are needed
PROMPT = [7, 9, 11, 8, 10]
LENGTH = 8


def write(target: Path) -> None:
    import regard

    for case in CASES:
        regard.save_model(regard.load_model(case, dtype="auto"), target / case.name)
    print(f"{len(CASES)} cases saved")


def read(saved: Path) -> int:
    """How many cases something was said of."""
    said = 0
    for case in CASES:
        found = complaints(case, saved / case.name)
        said += bool(found)
        converted = "" if found else converts(case, saved / case.name)
        print(f"{case.name:44} {'; '.join(found) or 'loaded without a word'}{converted}", flush=True)
    print(f"{len(CASES)} cases, {said} with something to say")
    return said


def complaints(case: Path, saved: Path) -> list[str]:
    """Warnings, names that are missing or left over, and anything else than an exception-free load."""
    import transformers

    heard = Heard()
    logger = transformers.logging.get_logger("transformers")
    logger.addHandler(heard)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            _, info = class_of(case).from_pretrained(saved, output_loading_info=True)
        except Exception as error:  # whatever it is, it is what this script looks for
            return [f"{type(error).__name__}: {error}"]
        finally:
            logger.removeHandler(heard)
    names = [f"{what}: {sorted(map(str, found))}" for what, found in info.items() if found]
    return [*names, *heard.words, *(str(one.message) for one in warned)]


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())


def class_of(case: Path) -> Any:
    import transformers

    return getattr(transformers, json.loads((case / "case.json").read_text("utf-8"))["architecture"])


def converts(case: Path, saved: Path) -> str:
    """What CTranslate2 makes of it, beside Transformers; "" for a family whose tokenizer it needs."""
    import ctranslate2
    import torch

    config = json.loads((saved / "config.json").read_text("utf-8"))
    model = class_of(case).from_pretrained(saved, dtype=torch.float32).eval()
    if config["model_type"] not in CONVERTED or not model.can_generate():
        return ""
    expected = greedy(model, config)
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        model.save_pretrained(source)
        words_as_numbers(config).save_pretrained(source)
        try:
            ctranslate2.converters.TransformersConverter(str(source)).convert(str(target))
            found = generated(target, config)
        except (AttributeError, NotImplementedError, ValueError) as error:  # of what Transformers itself saved, too
            return f", not run by CTranslate2: {error}"
    equal = sum(ours == theirs for ours, theirs in zip(found, expected, strict=False))
    return f", converted: {equal} of {len(expected)} tokens equal"


def greedy(model: Any, config: dict[str, Any]) -> list[int]:
    import torch
    import transformers

    ends, is_decoder = ends_of(config), not config.get("is_encoder_decoder")
    options = transformers.GenerationConfig(
        max_new_tokens=LENGTH,
        eos_token_id=ends,
        pad_token_id=config.get("pad_token_id") or 0,
        decoder_start_token_id=config.get("decoder_start_token_id"),
    )
    found = model.generate(torch.tensor([prompt_of(config)]), generation_config=options)[0].tolist()
    return [token for token in found[len(PROMPT) if is_decoder else 1 :] if token not in ends]


def generated(converted: Path, config: dict[str, Any]) -> list[int]:
    import ctranslate2

    words = [str(token) for token in prompt_of(config)]
    if config.get("is_encoder_decoder"):
        options = {"beam_size": 1, "max_decoding_length": LENGTH}
        found = ctranslate2.Translator(str(converted)).translate_batch([words], **options)[0].hypotheses[0]
    else:
        options = {"beam_size": 1, "max_length": LENGTH, "include_prompt_in_result": False}
        found = ctranslate2.Generator(str(converted)).generate_batch([words], **options)[0].sequences[0]
    return [int(word) for word in found if int(word) not in ends_of(config)]


def prompt_of(config: dict[str, Any]) -> list[int]:
    return [*PROMPT, *(ends_of(config)[:1] if config.get("is_encoder_decoder") else [])]


def ends_of(config: dict[str, Any]) -> list[int]:
    eos = config["eos_token_id"]
    return eos if isinstance(eos, list) else [eos]


def words_as_numbers(config: dict[str, Any]) -> Any:
    """A tokenizer whose words are the ids: the converter asks for one."""
    import transformers
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({str(token): token for token in range(config["vocab_size"])}, unk_token="3"))
    named = {key: config.get(f"{key}_id") for key in ("bos_token", "pad_token")} | {"eos_token": ends_of(config)[0]}
    special = {key: str(token) for key, token in named.items() if token is not None}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="3", **special)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "read"):
        sys.exit(__doc__)
    directory = Path(sys.argv[2])
    sys.exit(write(directory) if sys.argv[1] == "write" else read(directory) > 0)
