"""The images and sounds that records name: a path, or the file itself as a data: URI."""

import base64
import binascii
import re
from pathlib import Path

from regard.errors import InputError

INLINE = "data:"  # how it begins where it is no path, but the file itself


def beside(file: str, listing: str) -> str:
    """A path, which is meant from where the file that names it lies."""
    return file if file.startswith(INLINE) else str(Path(listing).parent / file)


def opened(file: str) -> str | bytes:
    """A path as it is, and the bytes of a data: URI. Raises InputError where it is spelled wrong."""
    if not file.startswith(INLINE):
        return file
    head, comma, body = file.partition(",")
    if not comma or not head.endswith(";base64"):
        raise InputError("a data: URI must be data:TYPE;base64,CONTENT")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise InputError("a data: URI that is no base64") from None


def reason(error: InputError, file: str) -> str:
    """Why a file could not be read, without its name or its size: so equal reasons count as one."""
    said = str(error).removeprefix("cannot read ")
    return re.sub(rf"^(an? \w+ of [\d,]+ bytes|{re.escape(file)}):? ", "", said)


def shown_name(file: str) -> str:
    """What stands for a file in words: its path, or that it came within the data."""
    return "(in the data)" if file.startswith(INLINE) else file
