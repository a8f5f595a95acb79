"""Parallel text from man pages: sections in order, and within them paragraphs where both languages have as many."""

import re
from collections.abc import Iterator

from regard.corpora.catalogs import TextPair

_SECTION = {"SH", "SS"}
_PARAGRAPH = {"PP", "P", "LP", "IP", "HP", "TQ", "RS", "RE", "sp"}
_VERBATIM = {"nf": "fi", "EX": "EE", "TS": "TE", "PS": "PE", "EQ": "EN", "de": "."}
_FONT = {"B", "I", "BR", "RB", "IR", "RI", "BI", "IB", "SM", "SB", "R", "UR", "MT"}

_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')
_FONT_ESCAPE = re.compile(
    r"\\f(?:\[[^\]]*\]|\(..|.)|\\s(?:[-+]?\d{1,2}|\[[-+]?\d+\])|\\m\[[^\]]*\]|\\[&|^%:/,)c!]|\\k.|\\z"
)
_COMMENT = re.compile(r'\\["#].*')
_SPECIAL = re.compile(r"\\(?:\((..)|\[([^\]]+)\]|\*\((..)|\*\[([^\]]+)\]|\*(.))")
_CHARACTERS = {
    "aq": "'", "dq": '"', "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "em": "—", "en": "–", "bu": "•", "co": "©",
    "ha": "^", "ti": "~", "rs": "\\", "ga": "`", "aa": "´", "mu": "×", "+-": "±", "<=": "≤", ">=": "≥", "!=": "≠",
    "->": "→", "<-": "←", "de": "°", "Fo": "«", "Fc": "»", "bv": "|", "ba": "|", "sc": "§", "12": "½", "tm": "™",
    "rg": "®", "at": "@", "sh": "#", "Do": "$", "ul": "_", "sl": "/", "lB": "[", "rB": "]", "lC": "{", "rC": "}",
    "la": "⟨", "ra": "⟩", "Bq": "„", "Tm": "™", "R": "®", "**": "*", "mi": "−", "pl": "+", "eq": "=", "ss": "ß",
    ":a": "ä", ":o": "ö", ":u": "ü", ":A": "Ä", ":O": "Ö", ":U": "Ü", "'e": "é", "`e": "è", "oe": "œ", "ae": "æ",
}  # fmt: skip


def man_sections(page: str) -> list[list[str]]:
    """Plain paragraphs of each section and subsection of a `man` page; verbatim parts and tables are left out.

    A page in another macro set (`mdoc`) or one that includes another page gives no sections.
    """
    sections: list[list[str]] = []
    paragraph: list[str] = []
    until = ""  # the macro that ends a verbatim part
    tag_follows = False

    def close() -> None:
        text = " ".join(paragraph)
        if text.strip() and sections:
            sections[-1].append(text)
        paragraph.clear()

    for line in page.replace("\\\n", "").split("\n"):
        macro, arguments = _macro(line)
        if until:
            until = "" if macro == until or (until == "." and line == "..") else until
        elif macro in ("Dd", "so"):
            return []
        elif macro in _SECTION:
            close()
            sections.append([])
        elif macro in _VERBATIM:
            close()
            until = _VERBATIM[macro]
        elif macro in _PARAGRAPH or macro == "TP":
            close()
            tag_follows = macro == "TP"
        elif (text := _text(line, macro, arguments)) and sections:
            paragraph.append(text)
            if tag_follows:
                close()
            tag_follows = False
    close()
    return sections


def _macro(line: str) -> tuple[str, list[str]]:
    """Name and arguments of a request; a line of text has an empty name, a comment or an empty request the name ' '."""
    if not line.startswith((".", "'")):
        return "", []
    name, _, rest = line[1:].strip().partition(" ")
    arguments = [
        quoted.replace('""', '"') or plain
        for quoted, plain in _ARGUMENT.findall(_COMMENT.sub("", rest).replace("\\ ", "\\~"))
    ]
    return (name, arguments) if name.isalnum() else (" ", [])


def _text(line: str, macro: str, arguments: list[str]) -> str:
    if not macro:
        return plain(line)
    if macro in _FONT:
        joint = " " if macro in ("B", "I", "SM", "R", "SB") else ""
        return plain(joint.join(arguments))
    return ""


def plain(text: str) -> str:
    """A line of roff as a reader sees it; a character that is not known leaves its backslash."""
    text = _COMMENT.sub("", text)
    text = _FONT_ESCAPE.sub("", text)
    text = _SPECIAL.sub(lambda match: _CHARACTERS.get(next(filter(None, match.groups())), "\\"), text)
    for escape, character in (
        ("\\-", "-"),
        ("\\~", " "),
        ("\\ ", " "),
        ("\\0", " "),
        ("\\'", "´"),
        ("\\`", "`"),
        ("\\.", "."),
    ):
        text = text.replace(escape, character)
    return re.sub(r"\\e|\\E", "\\\\", text)


def man_pairs(original: str, translation: str) -> Iterator[TextPair]:
    """Paragraph pairs of two man pages with the same sections; the translation may end with one on its translators."""
    sections, others = man_sections(original), man_sections(translation)
    if len(others) - len(sections) not in (0, 1):
        return
    for paragraphs, translated in zip(sections, others, strict=False):
        if len(paragraphs) == len(translated):
            yield from zip(paragraphs, translated, strict=True)
