"""A whole run file, and what its tables must not say together."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import Field, model_validator

from regard.config.section import Section
from regard.config.sections import (
    AugmentationConfig,
    DataConfig,
    DecodingConfig,
    ModelConfig,
    NgramsConfig,
    ObjectiveConfig,
    TokenizerConfig,
    TrainingConfig,
)
from regard.config.sizes import SIZES, SizeName
from regard.config.tasks import IMAGE_TASKS, OWNED, SOUND_TASKS, TASKS, TaskName, with_defaults


class RunConfig(Section):
    """A whole run: data + model + training."""

    task: TaskName = "translate"  # what is learned: docs/objectives.md
    size: SizeName | None = None  # sets preset, rates and batch together, where the file is silent: config/sizes.py
    seed: int = Field(default=0, ge=0, lt=2**31)  # of weights, order, dropout and all that is drawn
    data: DataConfig  # where the examples come from
    objective: ObjectiveConfig = ObjectiveConfig()  # what is learned from them, where the task leaves a choice
    augmentation: AugmentationConfig = AugmentationConfig()  # how images and recordings vary
    tokenizer: TokenizerConfig = TokenizerConfig()  # of all texts
    model: ModelConfig = ModelConfig()  # the network
    training: TrainingConfig  # how long, how fast, how careful
    decoding: DecodingConfig = DecodingConfig()  # how texts are searched
    ngrams: NgramsConfig = NgramsConfig()  # how frames are

    @model_validator(mode="before")
    @classmethod
    def _task_defaults(cls, values: Any) -> Any:
        return with_defaults(values)

    @model_validator(mode="after")
    def _belongs_to_the_task(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        rules = TASKS[self.task]
        if self.size is not None and self.task not in SIZES:
            yield f"size is for {', '.join(SIZES)}, but task is {self.task!r}: leave it out"
        if self.size is not None and self.model.from_ is not None:
            yield "size is for a new network, but model.from names a checkpoint, which has its own: leave size out"
        for key in OWNED:
            if key not in rules.keys and self._says(key):
                owners = ", ".join(name for name, other in TASKS.items() if key in other.keys)
                yield f"{key} is for {owners}, but task is {self.task!r}: leave it out"
        for key in rules.senseless:
            if self._says(key):
                yield f"{key} says nothing to {self.task}: leave it out"
        yield from self._corpus_problems(rules.corpora)
        if self.training.best not in rules.scores:
            yield (
                f"training.best must be one of {', '.join(rules.scores)} for {self.task}, but is {self.training.best!r}"
            )
        written = "training.score_examples" in rules.keys
        if written and self.training.best != "loss" and self.training.score_examples == 0:
            yield f"training.best = {self.training.best!r} needs training.score_examples above 0"
        if self.task in IMAGE_TASKS:
            yield from self._image_problems()
        if self.task in SOUND_TASKS:
            yield from self._sound_problems()
        if self.task == "classify":
            yield from self._classify_problems()
        beside = self.tokenizer.changed(*type(self.tokenizer).model_fields)
        if self.model.from_ is not None and beside is not None:
            yield f"tokenizer.{beside} cannot stand beside model.from, which brings its own tokenizer: leave it out"

    def _says(self, key: str) -> bool:
        """Whether a key, or any key of a table, is at another value than where the run file is silent."""
        table, _, name = key.partition(".")
        section: Section = getattr(self, table)
        if not name:
            return section.changed(*type(section).model_fields) is not None
        silent = type(section).model_fields[name].default
        return bool(getattr(section, name) != TASKS[self.task].defaults.get(table, {}).get(name, silent))

    def _corpus_problems(self, kinds: tuple[str, ...]) -> Iterator[str]:
        for split in ("train", "validation", "test"):
            for number, corpus in enumerate(getattr(self.data, split)):
                where = f"data.{split}.{number}"
                if corpus.kind not in kinds:
                    yield f"{where}: {self.task} reads {' or '.join(kinds)}, but this corpus is {corpus.kind}"
                spoken = corpus.changed("source_lang", "target_lang")
                if self.task != "translate" and spoken is not None:
                    yield f"{where}: {spoken} is for translate, but task is {self.task!r}: leave it out"

    def _image_problems(self) -> Iterator[str]:
        size = self.data.image_size
        if self.model.from_ is None and size is None:
            yield "data.image_size is missing: the pixels a side to which images are resized"
        if self.model.from_ is not None and size is not None:
            yield "data.image_size cannot stand beside model.from, which brings how images are prepared: leave it out"

    def _sound_problems(self) -> Iterator[str]:
        if self.task == "transcribe-ctc" and self.model.from_ is not None:
            yield "model.from is for other tasks: transcribe-ctc trains a new network, so name its model.preset instead"
        if self.model.from_ is None:
            if self.data.audio_seconds is None:
                yield "data.audio_seconds is missing: the longest recording, which is all that is heard at a time"
            if self.data.language is not None:
                yield "data.language is told to the checkpoint of model.from, and there is none: leave it out"
        elif (heard := self.data.changed("audio_seconds", "frame_ms")) is not None:
            yield f"data.{heard} cannot stand beside model.from, which brings how recordings are heard: leave it out"
        if self.task == "transcribe-ctc":
            beside = self.model.changed("decoder_depth", "max_positions")
            if beside is not None:
                yield f"model.{beside} is of a decoder, which transcribe-ctc has none of: leave it out"

    def _classify_problems(self) -> Iterator[str]:
        problem, best = self.objective.problem, self.training.best
        if best != "loss" and (problem == "regression") != (best == "pearson"):
            yield f"training.best = {best!r} is no score where objective.problem is {problem!r}"
        if problem != "single_label" and self.training.label_smoothing:
            yield f"training.label_smoothing is for single_label, but objective.problem is {problem!r}: leave it out"
