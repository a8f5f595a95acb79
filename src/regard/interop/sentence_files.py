"""What makes a checkpoint a directory of sentence-transformers: an encoder, the mean over its tokens, length 1
(Reimers and Gurevych 2019)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.interop.directory import CONFIG, MODULES, write_json

_KINDS = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}


@dataclass(frozen=True)
class SentenceFiles:
    """The files beside an encoder's own, and its tokenizer's. width: of a vector."""

    tokenizer: Any
    width: int

    def save(self, directory: Path) -> None:
        self.tokenizer.save(directory)
        listed = [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (path, kind) in enumerate(_KINDS.items())
        ]
        write_json(directory, MODULES, listed)
        write_json(directory, "sentence_bert_config.json", {"do_lower_case": False})
        for path in filter(None, _KINDS):
            (directory / path).mkdir(exist_ok=True)
        pooling = {"word_embedding_dimension": self.width, "pooling_mode_mean_tokens": True}
        write_json(directory / "1_Pooling", CONFIG, pooling)
        write_json(directory / "2_Normalize", CONFIG, {})
