"""Chat messages -> the text that a model was trained to answer, by the template that comes with it.

A template is a program of a stranger: it runs in a sandbox, sees plain data alone, and what it does is bounded.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

import jinja2
from jinja2.exceptions import SecurityError

from regard.errors import CheckpointError, InputError
from regard.features.chat_sandbox import MOST_CHARACTERS, Refusal, Sandbox, metered

Messages = Sequence[Mapping[str, Any]]
_LONGEST_TEMPLATE = 1_000_000  # characters; the longest seen have some 20,000
_REASONING = ("reasoning_content", "thinking", "reasoning")  # names for the same


class ChatTokenizer(Protocol):
    """A tokenizer, as far as a chat is concerned."""

    special_tokens: dict[str, str]

    @property
    def chat_templates(self) -> dict[str, str]: ...

    @property
    def control_tokens(self) -> list[str]: ...

    def token_id(self, token: str) -> int | None: ...

    def encode_plain(self, text: str, *, parse_special: bool = False) -> list[int]: ...


def render_chat(
    template: str,
    messages: Messages,
    *,
    add_generation_prompt: bool = False,
    special_tokens: Mapping[str, str] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """The messages as one text, as Transformers' `apply_chat_template` writes it.

    messages: {"role": ..., "content": ...} each. special_tokens: by the names that templates have for them, bos_token
    and the like. tools: JSON schemas. variables: whatever else a template asks for, such as enable_thinking.
    Raises InputError where the template refuses the messages, CheckpointError where the template itself is at fault.
    """
    if not messages:
        raise InputError("a chat needs at least one message")
    given = {
        **(special_tokens or {}),
        **_plain(variables or {}),
        "messages": [_with_reasoning(_message(message)) for message in messages],
        "tools": _plain(tools),
        "documents": _plain(documents),
        "add_generation_prompt": add_generation_prompt,
    }
    parts: list[str] = []
    length = 0
    compiled = _compiled(template)
    try:
        with metered():
            for part in compiled.generate(given):
                length += len(part)
                if length > MOST_CHARACTERS:
                    raise SecurityError(f"it writes more than {MOST_CHARACTERS:,} characters")
                parts.append(part)
    except Refusal as refusal:
        raise InputError(f"the chat template refuses these messages: {_line(refusal)}") from None
    except Exception as error:  # whatever a stranger's program raises
        raise CheckpointError(f"the chat template fails: {type(error).__name__}: {_line(error)}") from None
    return "".join(parts)


def encode_chat(
    tokenizer: ChatTokenizer,
    messages: Messages,
    *,
    add_generation_prompt: bool = True,
    template: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> list[int]:
    """The ids of the messages. The special tokens are those that the template writes: of a message they are text.

    template: the name of one of several, or a template itself; default: the tokenizer's. The rest is `render_chat`'s.
    """
    control = _Control(tokenizer.control_tokens)
    given = control.hidden({"messages": messages, "tools": tools, "documents": documents, "variables": variables or {}})
    text = render_chat(
        chosen_template(tokenizer.chat_templates, template, tools is not None),
        add_generation_prompt=add_generation_prompt,
        special_tokens={f"{role}_token": token for role, token in tokenizer.special_tokens.items()},
        **given,
    )
    if not control.found:
        return tokenizer.encode_plain(text, parse_special=True)
    ids: list[int] = []
    for part in control.split(text):
        own = tokenizer.token_id(part) if part in control.tokens else None
        ids += tokenizer.encode_plain(control.shown(part)) if own is None else [own]
    return ids


def chosen_template(templates: Mapping[str, str], wanted: str | None = None, with_tools: bool = False) -> str:
    """The template of that name, or `wanted` itself; without it the one for tools, where there are any, or "default".

    Raises InputError where the model has no template, or several and none for all.
    """
    if wanted is not None:
        return templates.get(wanted, wanted)
    for name in ("tool_use", "default") if with_tools else ("default",):
        if name in templates:
            return templates[name]
    if not templates:
        raise InputError("the model has no chat template: it was not trained to chat, or a template must be given")
    raise InputError(f"the model has several chat templates: give one of {', '.join(sorted(templates))}")


def chat_templates(config: Mapping[str, Any], origin: str) -> dict[str, str]:
    """The templates of a tokenizer_config.json by name: it may hold one text, a list of named ones, or an object."""
    found = config.get("chat_template")
    if isinstance(found, list | tuple):
        found = {str(item.get("name")): item.get("template") for item in found if isinstance(item, Mapping)}
    templates = {} if found is None else dict(found) if isinstance(found, Mapping) else {"default": found}
    if not all(isinstance(template, str) for template in templates.values()):
        raise CheckpointError(f"{origin}: chat_template must be a text, or texts by name")
    return templates


class _Control:
    """The special tokens that messages spell, behind marks that nobody can guess while the template runs."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tokens
        self.found = False
        key = secrets.token_hex(8)
        self._marks = {token: f"\ue000{key}{number}\ue001" for number, token in enumerate(tokens)}
        longest_first = sorted(tokens, key=len, reverse=True)
        self._any = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if tokens else "((?!))")

    def hidden(self, values: Any) -> Any:
        if isinstance(values, str):
            text = self._any.sub(lambda match: self._marks[match[0]], values)
            self.found = self.found or text != values
            return text
        if isinstance(values, Mapping):
            return {key: self.hidden(value) for key, value in values.items()}
        if isinstance(values, list | tuple):
            return [self.hidden(value) for value in values]
        return values

    def split(self, text: str) -> list[str]:
        """The text, cut before and after each special token that the template wrote."""
        return [part for part in self._any.split(text) if part]

    def shown(self, text: str) -> str:
        for token, mark in self._marks.items():
            text = text.replace(mark, token)
        return text


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    if len(template) > _LONGEST_TEMPLATE:
        raise CheckpointError(f"the chat template has {len(template):,} characters: at most {_LONGEST_TEMPLATE:,}")
    environment = Sandbox()
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise CheckpointError(f"the chat template is no template: line {error.lineno}: {_line(error)}") from None
    except (jinja2.TemplateError, RecursionError, SyntaxError, MemoryError, ValueError) as error:
        raise CheckpointError(f"the chat template is no template: {_line(error)}") from None


def _refuse(message: Any) -> None:
    raise Refusal(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _message(message: Any) -> dict[str, Any]:
    """Without the keys that are None: templates know an absent key, and would write "None"."""
    if not isinstance(message, Mapping):
        raise InputError(f"a chat message must be an object with role and content, but is {type(message).__name__}")
    return {key: value for key, value in _plain(message).items() if value is not None}


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """What a model thought goes by several names: templates know one or the other."""
    reasoning = next((message[key] for key in _REASONING if key in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _plain(value: Any) -> Any:
    """A copy in JSON's types alone: objects have methods that a sandbox does not know."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise InputError(f"chat messages hold texts, numbers, lists and objects, but here is a {type(value).__name__}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
