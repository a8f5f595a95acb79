"""A transcription as text, or as subtitles: SubRip, WebVTT."""

from collections.abc import Callable

from regard.errors import ConfigError
from regard.tasks.transcribe import Segment, Transcription

_ARROW = " --> "


def as_text(found: Transcription) -> str:
    """All of it in one line; where there are segments, a line each: start, end and text, with tabs between."""
    if not found.segments:
        return _one_line(found.text) + "\n"
    lines = (f"{one.start:.2f}\t{one.end:.2f}\t{_one_line(one.text)}\n" for one in found.segments)
    return "".join(lines)


def as_srt(found: Transcription) -> str:
    """SubRip: numbered from 1, 00:00:01,280."""
    blocks = (f"{number}\n{_span(one, ',')}\n{_one_line(one.text)}\n" for number, one in enumerate(found.segments, 1))
    return "\n".join(blocks)


def as_vtt(found: Transcription) -> str:
    """WebVTT: 00:00:01.280; what would be markup or an arrow is escaped."""
    blocks = (f"\n{_span(one, '.')}\n{_escaped(_one_line(one.text))}\n" for one in found.segments)
    return "WEBVTT\n" + "".join(blocks)


FORMATS: dict[str, Callable[[Transcription], str]] = {"txt": as_text, "srt": as_srt, "vtt": as_vtt}


def written(found: Transcription, form: str) -> str:
    """The whole file in one of FORMATS; ConfigError for another."""
    if form not in FORMATS:
        raise ConfigError(f"format must be one of {', '.join(FORMATS)}, but is {form!r}")
    return FORMATS[form](found)


def clock(seconds: float, point: str = ".") -> str:
    """1:02:03.456 as 01:02:03.456."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _span(segment: Segment, point: str) -> str:
    return f"{clock(segment.start, point)}{_ARROW}{clock(segment.end, point)}"


def _one_line(text: str) -> str:
    """A blank line would end a subtitle, and a tab a column."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
