"""The special tokens that a trained tokenizer has, and what it puts around a text, by what the model learns.

A translator's ends each text with `</s>`. A language model's begins each with it, as GPT-2 begins documents with the
token that ends them, so that a prompt looks as the documents do. An encoder's puts `<s>` before and `</s>` after, and
knows `<mask>`. A span corrupter's is a translator's with sentinels: `<extra_id_0>` has the highest id (Raffel et al.
2020).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import tokenizers
from tokenizers import processors

from regard.errors import ConfigError
from regard.features import tokenizer_training
from regard.features.tokenizer import Tokenizer
from regard.features.tokenizer_training import EOS

if TYPE_CHECKING:  # which reading a text does without, and pydantic takes as long to import as all the rest
    from regard.config import TokenizerConfig

LayoutName = Literal["translate", "language", "encoder", "sentinels"]

_LEAST = 300  # for 256 bytes, three special tokens, and something to learn
CLS, MASK = "<s>", "<mask>"
SENTINELS = 100

_ADDED: dict[LayoutName, tuple[str, ...]] = {
    "translate": (),
    "language": (),
    "encoder": (CLS, MASK),
    "sentinels": tuple(f"<extra_id_{number}>" for number in reversed(range(SENTINELS))),
}
_ROLES: dict[LayoutName, dict[str, Any]] = {
    "language": {"bos_token": EOS},
    "encoder": {
        "bos_token": CLS,
        "cls_token": CLS,
        "sep_token": EOS,
        "mask_token": MASK,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    },
    "sentinels": {"additional_special_tokens": list(_ADDED["sentinels"])},
}


def train_tokenizer(
    lines: Iterable[str], config: "TokenizerConfig", layout: LayoutName, tags: Sequence[str] = ()
) -> Tokenizer:
    """As `Tokenizer.train`, in a layout. The added tokens count in `config.vocab_size`."""
    added = _ADDED[layout]
    least = _LEAST + len(added) + len(tags)
    if added and config.vocab_size < least:
        raise ConfigError(
            f"tokenizer.vocab_size must be at least {least}, with the {len(added)} special tokens that the task needs, "
            f"but is {config.vocab_size}"
        )
    content, roles = tokenizer_training.train(
        lines, config.model_copy(update={"vocab_size": config.vocab_size - len(added)}), tags
    )
    if layout == "translate":
        return Tokenizer(content, roles)
    engine = tokenizers.Tokenizer.from_str(content.decode())
    engine.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in added])
    if layout != "sentinels":
        engine.post_processor = _frame(engine, layout)
    return Tokenizer(engine.to_str(pretty=True).encode(), {**roles, **_ROLES[layout]})


def _frame(engine: tokenizers.Tokenizer, layout: LayoutName) -> processors.TemplateProcessing:
    first = EOS if layout == "language" else CLS
    ids = [(token, engine.token_to_id(token)) for token in dict.fromkeys((first, EOS))]
    if layout == "language":
        return processors.TemplateProcessing(single=f"{EOS} $A", pair=f"{EOS} $A $B", special_tokens=ids)
    return processors.TemplateProcessing(
        single=f"{CLS} $A {EOS}", pair=f"{CLS} $A {EOS} $B:1 {EOS}:1", special_tokens=ids
    )
