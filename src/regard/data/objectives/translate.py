"""A pair of texts in two languages; the source may begin with a tag of the target's language (Johnson et al. 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

from regard.data.objectives.language_tags import language_tags, require_language, tag_id_of
from regard.data.objectives.text_to_text import TextToText
from regard.data.sources import Located
from regard.features.tokenizer import Tokenizer


@dataclass(frozen=True)
class Translate(TextToText):
    """Which pairs are kept. Lengths count what the model reads: tag and eos too."""

    max_ratio: float | None = None
    language_tags: bool = False

    def refuse_record(self, located: Located) -> None:
        if self.language_tags:
            require_language(located, "target", "set target_lang in its corpus")

    def tags(self, names: Sequence[str]) -> list[str]:
        return language_tags(names) if self.language_tags else []

    def objection(self, source: int, target: int) -> str | None:
        if self.max_ratio is not None and max(source, target) > self.max_ratio * min(source, target):
            ratio = f"length ratio above data.max_ratio = {self.max_ratio:g}"
        else:
            ratio = None
        return super().objection(source, target) or ratio

    def before(self, located: Located, tokenizer: Tokenizer) -> list[int]:
        return [tag_id_of(located, tokenizer, "target language")] if self.language_tags else []
