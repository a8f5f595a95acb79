"""The chat task: messages in, the model's reply out, by the template that the checkpoint was trained with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from regard.decoding.options import GenerationOptions
from regard.errors import CheckpointError, InputError
from regard.features.chat import chosen_template, encode_chat, render_chat
from regard.features.tokenizer import Tokenizer
from regard.tasks.continuing import Continuation, Continuer, Engine, Prompt, Request, TextPieces
from regard.tasks.stopping import checked_stops

Message = Mapping[str, Any]
_PROBE = "qwertzuiop"  # an answer that no template writes by itself


class Chat:
    """A conversation with a language model: `chat("Hello")` answers, and remembers both.

    messages: what was said, {"role": ..., "content": ...} each, without the system's. system: what stands before all
    of them. template: the name of one of the tokenizer's templates, or one itself. A reply ends with the tokens that
    end texts, and with the one that the template puts after an answer. forget: where a conversation leaves no room for
    max_new_tokens, its oldest turns are left out, and `forgotten` counts their messages; else it is an InputError once
    the conversation is too long to be answered at all.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        defaults: GenerationOptions,
        *,
        stop: Sequence[str] = (),
        system: str | None = None,
        template: str | None = None,
        forget: bool = False,
    ) -> None:
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        self.system, self.template, self.forget = system, template, forget
        self._defaults = defaults
        self.messages: list[dict[str, Any]] = []
        self.forgotten = 0
        self._continuer = Continuer(engine, tokenizer)

    @property
    def defaults(self) -> GenerationOptions:
        """The options of a reply, with all tokens that end one."""
        ends, end = self._defaults.eos_ids, _end_of_turn(self.tokenizer, self.template)
        return self._defaults if end is None or end in ends else self._defaults.merged(eos_token_id=(*ends, end))

    def __call__(self, message: str, **settings: Any) -> Continuation:
        """The reply to a message, after all that was said before. `settings` are those of `reply`."""
        pieces = self.stream(message, **settings)
        for _ in pieces:
            pass
        return pieces.result

    def stream(self, message: str, **settings: Any) -> "Turn":
        """The same as it is written: an iterator of pieces of text, with the reply in its `result`. What there is of it
        is remembered when the pieces are at their end, or closed before it."""
        asked = {"role": "user", "content": message}
        kept = list(self.messages)
        while True:
            try:
                told = [*self._opening(), *kept, asked]
                pieces = self.stream_reply(told, whole=self.forget and bool(kept), **settings)
                break
            except _NoRoom:
                kept = _without_oldest(kept)
        self.forgotten += len(self.messages) - len(kept)
        self.messages = kept
        return Turn(pieces, self.messages, asked)

    def reply(self, messages: Sequence[Message], **settings: Any) -> Continuation:
        """The reply to a conversation of the caller's own, of which nothing is remembered.

        settings: stop, strings before which the reply ends (default: the checkpoint's); tools, documents and variables
        of the template, see `encode_chat`; and options of GenerationOptions. Raises InputError where the messages are
        too long for the model, or the template refuses them.
        """
        prompt, request = self._asked(messages, **settings)
        return self._continuer.continued([prompt], request)[0][0]

    def stream_reply(self, messages: Sequence[Message], *, whole: bool = False, **settings: Any) -> TextPieces:
        """`reply` as it is written."""
        prompt, request = self._asked(messages, **settings)
        limit = self._continuer.max_tokens
        if whole and limit is not None and len(prompt.ids) + request.options.max_new_tokens > limit:
            raise _NoRoom
        return self._continuer.stream(prompt, request)

    def reset(self) -> None:
        """Forget what was said."""
        self.messages, self.forgotten = [], 0

    def _opening(self) -> list[Message]:
        return [] if self.system is None else [{"role": "system", "content": self.system}]

    def _asked(
        self,
        messages: Sequence[Message],
        *,
        stop: str | Sequence[str] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> tuple[Prompt, Request]:
        ids = encode_chat(
            self.tokenizer, messages, template=self.template, tools=tools, documents=documents, variables=variables
        )
        if not ids:
            raise InputError("the chat template writes nothing for these messages")
        stops = self.stop if stop is None else checked_stops(stop)
        bounded = any(options.get(name) is not None for name in ("max_new_tokens", "max_length"))
        return Prompt(ids, "the chat"), Request(self.defaults.merged(**options), stops, bounded)


class _NoRoom(Exception):
    """A conversation leaves no room for max_new_tokens."""


class Turn(Iterator[str]):
    """A reply as it is written, which becomes a part of the conversation."""

    def __init__(self, pieces: TextPieces, messages: list[dict[str, Any]], asked: dict[str, Any]) -> None:
        self._pieces, self._messages, self._asked = pieces, messages, asked
        self._open = True

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration:
            self._remember()
            raise

    def close(self) -> None:
        """End the reply here: what there is of it is remembered, and without any so is nothing."""
        self._pieces.close()
        self._remember()

    @property
    def result(self) -> Continuation:
        """What there is so far."""
        return self._pieces.result

    def _remember(self) -> None:
        if self._open and self.result.token_ids:
            self._messages += [self._asked, {"role": "assistant", "content": self.result.text}]
        self._open = False


def _without_oldest(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages after the first turn: templates want a user's first."""
    users = [place for place, message in enumerate(messages) if message["role"] == "user" and place]
    return list(messages[users[0] :]) if users else []


def _end_of_turn(tokenizer: Tokenizer, template: str | None) -> int | None:
    """The special token that the template puts after an answer: a .gguf file may call another one the end of texts.

    None where there is none, or the template does not bear such a conversation: then it will say so itself.
    """
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PROBE}]
    special = {f"{role}_token": token for role, token in tokenizer.special_tokens.items()}
    try:
        text = render_chat(chosen_template(tokenizer.chat_templates, template), messages, special_tokens=special)
    except (InputError, CheckpointError):
        return None
    after = text.rpartition(_PROBE)[2].lstrip()
    begun = [token for token in tokenizer.control_tokens if after.startswith(token)]
    return tokenizer.token_id(max(begun, key=len)) if begun else None
