"""A checkpoint on its way to a task: the model, and what stands beside it, read when a task asks for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regard.decoding.options import GenerationOptions
from regard.errors import CheckpointError
from regard.features.tokenizer import Tokenizer
from regard.interop.directory import REGARD, read_json
from regard.specs import ModelSpec
from regard.tasks.labels import label_names

Model = Any  # of regard.models.forms, which a task does not import


@dataclass(frozen=True)
class Found:
    """A loaded checkpoint. place: its directory, or its .gguf file; sentences: the directory with modules.json, of a
    sentence-transformers model."""

    model: Model
    place: Path
    sentences: Path | None = None

    @property
    def spec(self) -> ModelSpec:
        spec: ModelSpec = self.model.spec
        return spec

    @property
    def labels(self) -> tuple[str, ...]:
        return label_names(self.model.kept_config, self.spec.output.labels)

    @property
    def generation_options(self) -> GenerationOptions:
        """The checkpoint's, where a decoder's prompt is a start token alone; a language model's as they stand."""
        options: GenerationOptions = self.model.generation_options
        return options if self.spec.form == "decoder" else options.resolved(1)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Raises CheckpointError where there is none, or it gives ids that the model has no row for."""
        tokenizer = Tokenizer.load(self.place) if self.place.is_dir() else self._inside()
        rows = self.spec.vocab_size
        unread = tokenizer.mask_id == rows and tokenizer.vocab_size == rows + 1  # as BART-CNN's
        if tokenizer.vocab_size > rows and not unread:  # less is common: tables are padded to a round number of rows
            raise CheckpointError(
                f"{self.place}: the tokenizer is another model's: its vocabulary is {tokenizer.vocab_size}, "
                f"but the model's is {rows}"
            )
        return tokenizer

    def chosen(self, name: str) -> float | None:
        """What the run chose on validation for the use of its model; None where it had nothing to choose."""
        value = read_json(self.place, REGARD).get(name) if self.place.is_dir() else None
        return float(value) if isinstance(value, int | float) else None

    def _inside(self) -> Tokenizer:
        """The tokenizer of a .gguf file."""
        content, config = (self.model.companions[name]() for name in ("tokenizer.json", "tokenizer_config.json"))
        return Tokenizer(content, json.loads(config), str(self.place))

    @cached_property
    def processor(self) -> Mapping[str, Any]:
        """What is said of images or audio: Transformers 5 writes processor_config.json, older ones the other file.

        Raises CheckpointError where there is neither.
        """
        files = ("processor_config.json", "preprocessor_config.json")
        for name in files:
            values = read_json(self.place, name) if self.place.is_dir() else {}
            if {"image_processor", "feature_extractor"} & set(values) or (values and name == files[1]):
                return values
        missing = " and no ".join(files)
        raise CheckpointError(f"{self.place} does not say how its inputs are prepared: it has no {missing}")
