"""One dial for a new network: width, depth, rates and batch together, for each task."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

SizeName = Literal["tiny", "small", "base", "big"]

_SCHEDULE = "inverse_sqrt"  # which needs no number of steps; a schedule of another name brings its own rates
_AT_ADAMS_RATES = ("adam", "adamw", "muon")


class Size(NamedTuple):
    """What a size sets where the run file is silent."""

    preset: str  # width and depth
    peak: float  # the highest rate of adam
    warmup_steps: int
    batch: int
    accumulation: int = 1
    unit: str = "batch_tokens"  # the key of [training] that `batch` is of

    @property
    def batches(self) -> dict[str, Any]:
        """Of [training]."""
        return {self.unit: self.batch, "accumulation": self.accumulation}


# Rates fall with the width, and warm-up and batch grow with the depth, towards the settings of the papers: Vaswani et
# al. 2017 (base, big: 25,000 tokens a step) at the rates of Ott et al. 2018, Brown et al. 2020 (6e-4 at width 768),
# Devlin et al. 2019 (1e-4), Raffel et al. 2020, Touvron et al. 2021 (1,024 images), Radford et al. 2022 (table 17: 256
# recordings, 1.5e-3 to 5e-4). Tiny and small are for a few cores.
_ENCODERS = {
    "tiny": Size("bert-tiny", 5e-4, 200, 2048),
    "small": Size("bert-mini", 3e-4, 300, 4096),
    "base": Size("bert-small", 2e-4, 500, 4096, 2),
    "big": Size("bert", 5e-5, 1000, 4096, 4),
}
# A step of a writer is several batches, or all its texts would be of one length: docs/decisions.md.
_WRITERS = {
    "tiny": Size("tiny", 2e-3, 300, 1024, 2),
    "small": Size("small", 1.5e-3, 500, 2048, 2),
    "base": Size("base", 7e-4, 4000, 4096, 6),
    "big": Size("big", 5e-4, 4000, 4096, 6),
}
_HEARERS = {
    "tiny": Size("whisper-mini", 1.5e-3, 300, 32, unit="batch_recordings"),
    "small": Size("whisper-tiny", 1.5e-3, 1000, 32, 2, "batch_recordings"),
    "base": Size("whisper-base", 1e-3, 2048, 32, 8, "batch_recordings"),
    "big": Size("whisper-small", 5e-4, 2048, 32, 8, "batch_recordings"),
}
SIZES: Mapping[str, Mapping[str, Size]] = {
    "translate": _WRITERS,
    "summarise": _WRITERS,
    "text-to-text": _WRITERS,
    "language-model": {
        "tiny": Size("gpt2-tiny", 2e-3, 200, 2048),
        "small": Size("gpt2-mini", 1.5e-3, 500, 4096),
        "base": Size("gpt2-small", 1e-3, 1000, 8192, 2),
        "big": Size("gpt2", 6e-4, 2000, 8192, 8),
    },
    "masked-language-model": {
        "tiny": Size("bert-tiny", 1e-3, 500, 4096),
        "small": Size("bert-mini", 7e-4, 1000, 4096),
        "base": Size("bert-small", 5e-4, 2000, 8192, 2),
        "big": Size("bert", 1e-4, 10000, 8192, 16),
    },
    "span-corruption": {
        "tiny": Size("t5-tiny", 2e-3, 500, 4096),
        "small": Size("t5-mini", 1.5e-3, 1000, 4096),
        "base": Size("t5-small", 1e-3, 2000, 8192, 2),
        "big": Size("t5-base", 5e-4, 10000, 8192, 8),
    },
    "classify": _ENCODERS,
    "tag": _ENCODERS,
    "answer": _ENCODERS,
    "embed": _ENCODERS,
    "classify-image": {
        "tiny": Size("vit-mini", 1e-3, 300, 128, unit="batch_images"),
        "small": Size("vit-tiny", 1e-3, 1000, 128, 2, "batch_images"),
        "base": Size("vit-small", 1e-3, 3000, 128, 8, "batch_images"),
        "big": Size("vit-base", 1e-3, 5000, 128, 8, "batch_images"),
    },
    "caption": {
        "tiny": Size("vit-gpt2-tiny", 1e-3, 300, 48, unit="batch_images"),
        "small": Size("vit-gpt2-mini", 7e-4, 1000, 64, unit="batch_images"),
        "base": Size("vit-gpt2-small", 5e-4, 2000, 64, 4, "batch_images"),
        "big": Size("vit-gpt2", 3e-4, 5000, 64, 8, "batch_images"),
    },
    "transcribe": _HEARERS,
    "transcribe-ctc": _HEARERS,
}


def is_prompted(values: Mapping[str, Any]) -> bool:
    """Whether a run file says how a language model is asked for a target, and so is for one."""
    data = values.get("data")
    return isinstance(data, Mapping) and data.get("prompt") is not None


def _size(task: str, values: Mapping[str, Any]) -> Size | None:
    """What the size that a run file names is for its task; None where it names none that is known."""
    sizes = SIZES.get(task, {})
    if sizes is _WRITERS and is_prompted(values):
        sizes = SIZES["language-model"]
    return sizes.get(str(values.get("size")))


def forget_size(task: str, values: Mapping[str, Any]) -> None:
    """Remove what the named size set from a file that spells it out, as a run's own does: another size sets its own."""
    size = _size(task, values)
    if size is None:
        return
    training = values.get("training", {})
    tables: list[tuple[Any, dict[str, Any]]] = [
        (values.get("model"), {"preset": size.preset}),
        (training, size.batches),
    ]
    schedule = training.get("schedule") if isinstance(training, Mapping) else None
    if isinstance(schedule, Mapping) and schedule.get("name", _SCHEDULE) == _SCHEDULE:
        tables.append((schedule, _rates(size, _optimizer(training))))
    for table, settings in tables:
        for key, value in settings.items():
            if isinstance(table, dict) and table.get(key) == value:
                del table[key]


def _rates(size: Size, optimizer: str) -> dict[str, Any]:
    """The peak is Adam's: an optimizer whose rates are others has none here."""
    peak = {"peak": size.peak} if optimizer in _AT_ADAMS_RATES else {}
    return {"name": _SCHEDULE, **peak, "warmup_steps": size.warmup_steps}


def _optimizer(training: Any) -> str:
    """The name of the optimizer in a table of [training]."""
    optimizer = training.get("optimizer") if isinstance(training, Mapping) else None
    return str(optimizer.get("name", "adam")) if isinstance(optimizer, Mapping) else "adam"


def defaults_of(task: str, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the size that a run file names sets, by table; nothing where it names none that is known.

    The rates go with the size's own schedule: where the file names another, that one's keys are all it has. Raises
    ValueError where the file names an optimizer whose rates are not Adam's, and no peak for it.
    """
    size = _size(task, values)
    if size is None:
        return {}
    training = values.get("training")
    given = training.get("schedule", {}) if isinstance(training, Mapping) else {}
    own = not isinstance(given, Mapping) or given.get("name", _SCHEDULE) != _SCHEDULE
    schedule = given if own else {**_rates(size, _optimizer(training)), **given}
    if not own and "peak" not in schedule:
        raise ValueError(
            f"size sets a peak for {', '.join(_AT_ADAMS_RATES)}, but training.optimizer.name is "
            f"{_optimizer(training)!r}: set training.schedule.peak (`regard find-rate`, beside any, finds one)"
        )
    return {"model": {"preset": size.preset}, "training": {**size.batches, "schedule": schedule}}
