"""A checkpoint that writes -> its text generator, or a chat with it."""

from typing import TYPE_CHECKING

from regard.decoding.options import GenerationOptions
from regard.interop.directory import GENERATION, read_json
from regard.tasks.found import Found
from regard.tasks.generate import TextGenerator
from regard.tasks.purpose import is_asked
from regard.tasks.stopping import kept_stop_strings

if TYPE_CHECKING:  # it brings Jinja, which no other task needs
    from regard.tasks.chat import Chat

NEW_TOKENS = 256  # where the checkpoint does not say how many, as in Transformers' pipeline
REPLY_TOKENS = 1024


def text_generator(found: Found) -> TextGenerator:
    stop = kept_stop_strings(found.model.kept_generation, found.place)
    return TextGenerator(found.model, found.tokenizer, _options(found, NEW_TOKENS), stop, asked=is_asked(found))


def chat(found: Found) -> "Chat":
    from regard.tasks.chat import Chat

    stop = kept_stop_strings(found.model.kept_generation, found.place)
    most = min(REPLY_TOKENS, max(found.spec.text.positions.max_positions // 2, 1))  # half is for what was said
    return Chat(found.model, found.tokenizer, _options(found, most), stop=stop)


def _options(found: Found, new_tokens: int) -> GenerationOptions:
    """The checkpoint's, with `new_tokens` where it does not say how many. A language model's max_length is no such
    word: it counts the prompt, and is often all of its positions."""
    options = found.generation_options
    said = read_json(found.place, GENERATION) if found.place.is_dir() else {}
    keys = ("max_new_tokens",) if found.spec.form == "decoder" else ("max_new_tokens", "max_length")
    if any(said.get(key) is not None for key in keys):
        return options
    return options.merged(max_new_tokens=max(new_tokens, options.min_new_tokens))
