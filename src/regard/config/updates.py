"""How weights are updated: the optimizer, which weights it treats differently, and the learning rate by step."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from regard.config.section import Section

# What each optimizer can be told, and what it does when it is not.
_ADAM = {"beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9}
SETTINGS: Mapping[str, Mapping[str, float]] = {
    "adam": _ADAM,
    "adamw": _ADAM,
    "adafactor": {},
    "lion": {"beta_1": 0.9, "beta_2": 0.99},
    "muon": {**_ADAM, "momentum": 0.95},
    "sgd": {"momentum": 0.9},
}


ENDING = ("cosine", "linear", "wsd")  # schedules that depend on the number of steps in all


class GroupConfig(Section):
    """Weights that are treated differently. Of two groups that match a weight, the later one decides."""

    pattern: str = Field(min_length=1)  # of weight paths, as `regard inspect --weights` shows them; * crosses slashes
    rate: float | None = Field(default=None, gt=0)  # multiplies the learning rate
    weight_decay: float | None = Field(default=None, ge=0)  # instead of the optimizer's; not on norms and biases
    freeze: bool = False  # not trained at all

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        tuned = self.rate is not None or self.weight_decay is not None
        if self.freeze and tuned:
            raise ValueError("a group that freezes its weights has no use for rate and weight_decay: leave them out")
        if not self.freeze and not tuned:
            raise ValueError("a group needs rate, weight_decay or freeze")
        return self


class OptimizerConfig(Section):
    """Kingma and Ba 2015 (adam), Loshchilov and Hutter 2019 (adamw), Shazeer and Stern 2018 (adafactor), Chen et al.
    2023 (lion), Jordan et al. 2024 (muon, with adamw for all but the layers' kernels), or sgd with momentum."""

    name: Literal["adam", "adamw", "adafactor", "lion", "muon", "sgd"] = "adam"  # docs/training.md compares them
    beta_1: float | None = Field(default=None, ge=0, lt=1)  # adam, adamw, muon: 0.9; lion: 0.9
    beta_2: float | None = Field(default=None, ge=0, lt=1)  # adam, adamw, muon: 0.98; lion: 0.99
    epsilon: float | None = Field(default=None, gt=0)  # adam, adamw, muon: 1e-9
    momentum: float | None = Field(default=None, ge=0, lt=1)  # muon: 0.95; sgd: 0.9
    weight_decay: float = Field(default=0.0, ge=0)  # apart from the gradient; not adam; never on norms and biases
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # of the rate, for each layer between a weight and the head
    groups: tuple[GroupConfig, ...] = Field(default=(), strict=False)  # weights that are treated differently

    @model_validator(mode="before")
    @classmethod
    def _with_its_own_defaults(cls, values: Any) -> Any:
        name = values.get("name", "adam") if isinstance(values, Mapping) else None
        if not isinstance(name, str) or name not in SETTINGS:
            return values
        given = {key: value for key, value in values.items() if value is not None}
        for key in ("beta_1", "beta_2", "epsilon", "momentum"):
            if key in given and key not in SETTINGS[name]:
                users = ", ".join(each for each, settings in SETTINGS.items() if key in settings)
                raise ValueError(f"optimizer.{key} is for {users}, but optimizer.name is {name!r}")
        return {**SETTINGS[name], **given}

    @model_validator(mode="after")
    def _decay_apart(self) -> Self:
        decays = self.weight_decay or any(group.weight_decay for group in self.groups)
        if self.name == "adam" and decays:
            raise ValueError(
                "optimizer.weight_decay is for adamw and the others, but optimizer.name is 'adam': set it to 'adamw'"
            )
        return self

    def settings(self) -> dict[str, float]:
        """The numbers that this optimizer takes beside the learning rate, by their names."""
        return {name: getattr(self, name) for name in SETTINGS[self.name]}


class ScheduleConfig(Section):
    """The learning rate by update (Vaswani et al. 2017, section 5.3, is `paper`)."""

    # How it goes after the warm-up: docs/training.md, "Optimizers and schedules".
    name: Literal["paper", "inverse_sqrt", "cosine", "linear", "constant", "restarts", "wsd"] = "paper"
    warmup_steps: int = Field(default=4000, ge=0)  # in which the rate rises from 0
    peak: float | None = Field(default=None, gt=0)  # the highest rate; `paper` derives its own: (width * warmup)**-0.5
    scale: float = Field(default=1.0, gt=0)  # multiplies the schedule
    final: float = Field(default=0.0, ge=0)  # cosine, linear and wsd end here, and each cycle of restarts
    cycle_steps: int | None = Field(default=None, ge=1)  # restarts: the first cycle, after the warm-up
    cycle_growth: float = Field(default=1.0, ge=1)  # restarts: each cycle is so many times as long as the one before
    peak_decay: float = Field(default=1.0, gt=0, le=1)  # restarts: and begins at so many times its peak
    decay_steps: int | None = Field(default=None, ge=1)  # wsd: the last steps, in which the rate falls

    @property
    def ends(self) -> bool:
        """Whether the rates depend on the number of steps in all."""
        return self.name in ENDING

    @model_validator(mode="after")
    def _peak_where_needed(self) -> Self:
        if self.name == "paper" and self.peak is not None:
            raise ValueError(
                f"schedule.peak cannot stand beside paper, which derives its own from the width, but is {self.peak:g}: "
                "leave it out, or name another schedule"
            )
        if self.name != "paper" and self.peak is None:
            raise ValueError(f"schedule.peak is missing, the highest rate, which {self.name} needs")
        if self.name in ("paper", "inverse_sqrt") and self.warmup_steps < 1:
            raise ValueError(f"schedule.warmup_steps must be at least 1 for {self.name}, but is 0")
        if self.final and not (self.ends or self.name == "restarts"):
            raise ValueError(
                f"schedule.final is for cosine, linear, restarts and wsd, but schedule.name is {self.name!r}"
            )
        if self.peak is not None and self.final > self.peak:
            raise ValueError(f"schedule.final must be at most schedule.peak ({self.peak:g}), but is {self.final:g}")
        return self

    @model_validator(mode="after")
    def _own_lengths(self) -> Self:
        of_others = {"restarts": ("cycle_steps", "cycle_growth", "peak_decay"), "wsd": ("decay_steps",)}
        for name, keys in of_others.items():
            given = self.changed(*keys)
            if given is not None and self.name != name:
                raise ValueError(f"schedule.{given} is for {name}, but schedule.name is {self.name!r}")
            if self.name == name and getattr(self, keys[0]) is None:
                raise ValueError(f"schedule.{keys[0]} is missing, which {name} needs")
        return self
