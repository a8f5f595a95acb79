"""`regard chat`: messages in, replies out."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.commands.lines import load_task, print_json, whole_text
from regard.commands.search import check_seed
from regard.commands.text import open_lines
from regard.features.chat import chosen_template
from regard.tasks.chat import Chat

_PROMPT = "> "
_HELP = "/reset begins anew; /quit or Ctrl-D ends; Ctrl-C ends the reply at hand; all else is said to the model"


def talk(
    model: str,
    words: Sequence[str],
    *,
    system: str | None,
    template: Path | None,
    as_json: bool,
    runtime: Mapping[str, str],
    **settings: Any,
) -> None:
    """Print the reply to one message, or to one after the other as they are typed or read from stdin."""
    own = None if template is None else whole_text(template)
    chat: Chat = load_task(model, "chat", **runtime)
    chat.system, chat.template, chat.forget = system, own, True
    chosen_template(chat.tokenizer.chat_templates, own)  # before somebody types a message
    check_seed(chat.defaults, {name: value for name, value in settings.items() if name != "stop"})
    if words and list(words) != ["-"]:
        _answer(chat, " ".join(words), as_json, settings)
    elif sys.stdin.isatty() and not words:
        _converse(chat, as_json, settings)
    else:
        for message in open_lines(None):
            if message.strip():
                _answer(chat, message, as_json, settings)


def _converse(chat: Chat, as_json: bool, settings: dict[str, Any]) -> None:
    print(f"regard: {_HELP}", file=sys.stderr)
    for message in _typed():
        if message == "/quit":
            return
        if message == "/reset":
            chat.reset()
        elif message == "/help":
            print(f"regard: {_HELP}", file=sys.stderr)
        elif message:
            _answer(chat, message, as_json, settings)


def _typed() -> Iterator[str]:
    """The lines that somebody types, until Ctrl-D; Ctrl-C gives a line up."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - with it, `input` knows the arrow keys
    while True:
        try:
            yield input(_PROMPT).strip()
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


def _answer(chat: Chat, message: str, as_json: bool, settings: dict[str, Any]) -> None:
    """One reply, as it is written or as an object; Ctrl-C ends it where somebody can go on talking."""
    forgotten = chat.forgotten
    pieces = chat.stream(message, **settings)
    if chat.forgotten > forgotten:
        count = chat.forgotten - forgotten
        print(f"regard: the conversation grew too long: its oldest {count} messages are forgotten", file=sys.stderr)
    try:
        for piece in pieces:
            print("" if as_json else piece, end="", flush=True)
    except KeyboardInterrupt:
        pieces.close()
        if not sys.stdin.isatty():
            raise
    if as_json:
        print_json(pieces.result)
    else:
        print(flush=True)
    if not pieces.result.finished:
        print("regard: the reply reached max_new_tokens before its end: raise --max-new-tokens", file=sys.stderr)
