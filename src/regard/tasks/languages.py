"""The languages of a translator: which it knows, what they may be called, and what saying one does to its input.

That is data, found in the tokenizer and the config: a tag before the source (Marian), a code beside it and a forced
first token (mBART, M2M-100, NLLB), an instruction in words (T5), or nothing where a model knows one direction.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from regard.errors import InputError
from regard.features.tokenizer import Tokenizer
from regard.specs import TokenIds

_DIRECTION = re.compile(r"translation_(.+)_to_(.+)")  # a key of task_specific_params
_MOST_LISTED = 12
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Direction(NamedTuple):
    """What it does to a translation to go from a language into another."""

    source_lang: str | None = None
    target_lang: str | None = None
    prefix: str = ""  # words before the text
    before: tuple[int, ...] = ()  # ids before those of the text
    beside: str | None = None  # the language that the tokenizer is to put beside the text; None: its own default
    start: int | None = None  # what the decoder reads first; None: the model's own
    first: int | None = None  # the first token that is written; None: the search's choice
    options: Mapping[str, Any] = _NOTHING  # fields of GenerationOptions


@dataclass(frozen=True)
class Languages:
    """The directions that a model knows. beside: the source languages that its tokenizer can put beside any text.
    default: the target where none is asked for."""

    directions: tuple[Direction, ...] = ()
    beside: tuple[str, ...] = ()
    default: str | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The languages to choose from; none where the model knows one and is not told."""
        return _once(direction.target_lang for direction in self.directions)

    @property
    def sources(self) -> tuple[str, ...]:
        return self.beside or _once(direction.source_lang for direction in self.directions)

    def direction(self, source: str | None, target: str | None) -> Direction:
        """From one language into another, each as the model or as a short form calls it. None is what the checkpoint
        says, or all that there is. Raises InputError for a language that is missing, unknown or ambiguous."""
        target = self._target(target)
        found = [direction for direction in self.directions if direction.target_lang == target]
        if source is not None:
            source = known_language("source_lang", source, self.sources, "is not told what it translates from")
        if self.beside:
            return found[0]._replace(source_lang=source, beside=source)
        found = [direction for direction in found if source in (None, direction.source_lang)]
        if not found:
            raise InputError(f"this model does not translate from {source} into {target}")
        if len(found) > 1:
            sources = ", ".join(str(direction.source_lang) for direction in found)
            raise InputError(f"this model translates from several languages into {target}: give source_lang, {sources}")
        return found[0]

    def _target(self, wanted: str | None) -> str | None:
        if wanted is not None:
            return known_language("target_lang", wanted, self.targets, "translates into one language")
        if self.default is None and len(self.targets) > 1:
            raise InputError(
                f"this model translates into several languages: give target_lang, one of {listed(self.targets)}"
            )
        return self.default or next(iter(self.targets), None)


ONE_DIRECTION = Languages((Direction(),))


def languages_of(
    tokenizer: Tokenizer,
    tokens: TokenIds,
    *,
    forced: int | None = None,
    target: str | None = None,
    prompts: Mapping[str, tuple[str, Mapping[str, Any]]] = _NOTHING,
) -> Languages:
    """The languages that a checkpoint knows.

    forced: the checkpoint's forced_bos_token_id; target: the language that its tokenizer's config translates into;
    prompts: the keys of task_specific_params, each with its prefix and its fields of GenerationOptions.
    """
    if tokenizer.tags:
        tagged = tokenizer.languages.items()
        return Languages(tuple(Direction(target_lang=code, before=(token,)) for code, token in tagged))
    if tokenizer.languages:
        return _coded(tokenizer, tokens.decoder_start, forced, target)
    matches = ((_DIRECTION.fullmatch(name), *prompt) for name, prompt in prompts.items())
    prompted = tuple(
        Direction(match[1], match[2], prefix=prefix, options=options) for match, prefix, options in matches if match
    )
    return Languages(prompted) if prompted else ONE_DIRECTION


def _coded(tokenizer: Tokenizer, start: int | None, forced: int | None, target: str | None) -> Languages:
    """A language is a token: the decoder's first that it reads where the checkpoint starts from one (mBART), else the
    first that it writes (M2M-100, NLLB, mBART-50)."""
    names = {token: code for code, token in tokenizer.languages.items()}
    starts, forces = start in names, start not in names or forced in names
    directions = tuple(
        Direction(target_lang=code, start=token if starts and token != start else None, first=token if forces else None)
        for code, token in tokenizer.languages.items()
    )
    said = target if target in tokenizer.languages else None
    default = next((names[token] for token in (forced, start) if token is not None and token in names), said)
    beside = tuple(tokenizer.languages) if names.keys() & set(tokenizer.encode("")) else ()
    return Languages(directions, beside, default)


def language(code: str) -> str:
    """The short form of a language: "de" for de_DE, deu_Latn and de; its own where it has no shorter one (ISO 639)."""
    return _parts(code)[0]


def _parts(code: str) -> tuple[str, str]:
    """The language, as short as it gets, and the script or country that a code names, "" where it names none."""
    name, _, rest = code.lower().replace("-", "_").partition("_")
    return _aliases()(name), rest


def _aliases() -> Callable[[str], str]:
    from babel.core import get_global  # a few files of tables, which only names that are not the model's own need

    aliases = get_global("language_aliases")
    return lambda name: str(aliases.get(name, name))


def _english() -> dict[str, str]:
    """The short forms of languages by their names in English, in small letters."""
    from babel import Locale

    return {name.lower(): code for code, name in Locale("en").languages.items()}


def known_language(option: str, wanted: str, known: Sequence[str], otherwise: str) -> str:
    """The model's own name of a language; `otherwise` is what it does where it knows none. Raises InputError where it
    is none of them, or may be several."""
    if wanted in known:
        return wanted
    if not known:
        raise InputError(f"this model {otherwise} and takes no {option}, but got {wanted!r}")
    name, rest = _parts(wanted)
    alike = [code for code in known if _parts(code)[0] == name]
    found = [code for code in alike if not rest or _parts(code)[1] == rest]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{option} {wanted!r} may be {' or '.join(found)}: say which")
    name = _english().get(wanted.lower(), name)
    near = [code for code in known if _parts(code)[0] == name] or difflib.get_close_matches(wanted, known, n=1)
    hint = f": the nearest is {near[0]}" if near else ""
    raise InputError(f"{option} must be one of {listed(known)}, but is {wanted!r}{hint}")


def listed(codes: Sequence[str]) -> str:
    if len(codes) <= _MOST_LISTED:
        return ", ".join(codes)
    return f"{', '.join(codes[:_MOST_LISTED])} and {len(codes) - _MOST_LISTED} more (regard inspect lists them)"


def _once(codes: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(code for code in codes if code is not None))
