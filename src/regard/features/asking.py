"""How a language model is asked for a text, and where its answer begins: what stands before and behind a source.

The prompt of a run file becomes the chat template of its tokenizer, so the checkpoint itself says how it is asked, in
the form that Transformers reads: the source is what a user says, the target what the assistant does.
"""

from typing import NamedTuple

from regard.errors import InputError
from regard.features.chat import encode_chat
from regard.features.tokenizer import Tokenizer

SOURCE = "{source}"


class Asked(NamedTuple):
    """The ids after which the answer begins. cut: how many tokens of the source were left out."""

    ids: list[int]
    cut: int = 0


def asked(tokenizer: Tokenizer, source: str, max_length: int | None = None) -> Asked:
    """A source as its tokenizer's chat template puts it. The end of a source that makes it longer than `max_length`
    tokens is left out, and what stands behind it is not.

    Raises InputError where the template leaves room for none of it, or there is no template.
    """
    ids = _ids(tokenizer, source)
    if max_length is None or len(ids) <= max_length:
        return Asked(ids)
    encoding = tokenizer.encode_text(source)
    ends = [end for (_, end), text in zip(encoding.offsets, encoding.segments, strict=True) if text is not None]
    keep = len(ends) - (len(ids) - max_length)
    while keep > 0:
        shorter = _ids(tokenizer, source[: ends[keep - 1]])
        if len(shorter) <= max_length:
            return Asked(shorter, len(ids) - len(shorter))
        keep -= 1  # tokens that the cut parts from their neighbours may be more
    raise InputError(f"no token of the text fits into the {max_length} that are read, beside its prompt")


def chat_template(prompt: str, begins: bool) -> str:
    """The prompt of a run file, a text with {source} in it, as a chat template.

    begins: whether a text begins with the bos token.
    """
    before, after = (repr(part) for part in prompt.split(SOURCE))
    begin = "{{ bos_token }}" if begins else ""
    said = f"{{{{ {before} + message['content'] + {after} }}}}"
    answered = "{{ message['content'] + eos_token }}"
    turn = f"{{% if message['role'] == 'assistant' %}}{answered}{{% else %}}{said}{{% endif %}}"
    return f"{begin}{{% for message in messages %}}{turn}{{% endfor %}}"


def _ids(tokenizer: Tokenizer, source: str) -> list[int]:
    return encode_chat(tokenizer, [{"role": "user", "content": source}])
