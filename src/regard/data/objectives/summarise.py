"""A long text and a short one that says what matters in it (Lewis et al. 2020, section 5.3)."""

from dataclasses import dataclass
from typing import ClassVar

from regard.data.objectives.text_to_text import TextToText


@dataclass(frozen=True)
class Summarise(TextToText):
    """The end of a longer source than `max_tokens` is not read, as `regard summarise --long cut` leaves it out."""

    cuts_sources: ClassVar[bool] = True
