"""Drawing: SVG elements as escaped markup, the width of a text, the ticks of an axis."""

import math
import unicodedata

from markupsafe import Markup

CHARACTER = 0.58  # mean advance of a Latin letter in a sans-serif face, in em


def element(name: str, *children: str, **attributes: str | float) -> Markup:
    """An element with its children; what is not Markup is escaped.

    Names as Python has them: `fill_opacity` is written `fill-opacity`, `class_` is written `class`.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
    )
    inside = Markup("").join(children)  # join escapes
    closed = Markup("<{0}{1}>{2}</{0}>") if children else Markup("<{0}{1}/>")
    return closed.format(Markup(name), written, inside)


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def text_width(text: str) -> float:
    """About how wide a text is, in em: a Chinese character is as wide as it is high."""
    return sum(_advance(character) for character in text)


def _advance(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    return 1.0 if unicodedata.east_asian_width(character) in "WF" else CHARACTER


def shorten(text: str, width: float) -> str:
    """The text, or as much of its beginning as fits `width` em with an ellipsis."""
    if text_width(text) <= width:
        return text
    kept = ""
    while text_width(kept + text[len(kept)]) + 1 <= width:
        kept += text[len(kept)]
    return kept + "…"


def printable(text: str) -> str:
    """The text with what neither XML nor UTF-8 can carry (lone surrogates, control characters) as U+FFFD."""
    return "".join("\ufffd" if _forbidden(character) else character for character in text)


def _forbidden(character: str) -> bool:
    control = character < " " and character not in "\t\n\r"
    return control or "\ud800" <= character <= "\udfff" or character in "\ufffe\uffff"


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def brief(value: float) -> str:
    """A number as an axis shows it: 250, 12k, 3.5M, 2e-05."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"
