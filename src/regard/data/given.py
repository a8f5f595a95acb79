"""What a checkpoint brings to a run that starts from it."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from regard.features.processors import Processor
from regard.features.tokenizer import Tokenizer


class Given(NamedTuple):
    """A tokenizer, how images or recordings are prepared, or both.

    told: of a model that hears, the tokens that its texts begin after, by the language's code; None where they begin at
    once.
    """

    tokenizer: Tokenizer | None = None
    processor: Processor | None = None
    told: Mapping[str, tuple[int, ...]] | None = None

    @property
    def content_hash(self) -> str:
        """Equal when equal data are prepared with it."""
        hashes = [part.content_hash for part in (self.tokenizer, self.processor) if part is not None]
        if self.told is not None:
            hashes.append(repr(sorted(self.told.items())))
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
