"""A language as a token: before the source of a translation, and before a caption. Marian's spelling: >>de<<."""

from collections.abc import Sequence

from regard.data.sources import Located
from regard.errors import DataError
from regard.features.tokenizer import Tokenizer


def language_tags(names: Sequence[str]) -> list[str]:
    """The tokens of languages."""
    return [language_tag(language) for language in names]


def require_language(located: Located, what: str, way_out: str) -> None:
    """Raise DataError where a record does not name its language."""
    if not located.example.names:
        raise DataError(
            f"data.language_tags needs the language of every {what}, and {located.place} has none: {way_out}"
        )


def language_tag(language: str) -> str:
    """Marian's spelling of a target language at the head of a source."""
    return f">>{language}<<"


def tag_id_of(located: Located, tokenizer: Tokenizer, what: str) -> int:
    """The token that says a record's language, which errors call `what`. Raises DataError where there is none."""
    (language,) = located.example.names
    tag_id = tokenizer.tag_id(language_tag(language))
    if tag_id is None:
        known = ", ".join(tokenizer.tags) or "no language tag"
        raise DataError(f"{located.place}: the {what} is {language!r}, but the tokenizer knows {known}")
    return tag_id
