"""A path -> the task that its checkpoint is for."""

from pathlib import Path
from typing import Any

from regard.errors import CheckpointError, ConfigError
from regard.interop.checkpoints import load_model
from regard.specs import ModelSpec
from regard.tasks.catalog import TASKS, Task
from regard.tasks.found import Found
from regard.tasks.locate import model_place
from regard.tasks.sentence_modules import MODULES, read_modules


def load(path: str | Path, dtype: str = "float32", task: str | None = None) -> Any:
    """The task that the checkpoint at `path` is for, a `Translator`, `TextClassifier`, `Embedder` and so on; `task`, a
    key of TASKS, where another one is wanted.

    path: a model directory; a run directory, which stands for its finished model, else its best checkpoint; a .gguf
    file; a name in `regard.interop.packaged.PACKAGES`; or the id of a model on the hub. dtype: as for `load_model`.
    Raises CheckpointError where there is no model, a file is damaged, the tokenizer is another model's, or the model is
    not one for the task; ConfigError for an unknown task.
    """
    if task is not None and task not in TASKS:
        raise ConfigError(f"task must be one of {', '.join(TASKS)}, but is {task!r}")
    place = model_place(path)
    sentences = place if (place / MODULES).is_file() else None
    if sentences is not None:
        place = read_modules(sentences).encoder
        task = task or "embed"
    model = load_model(place, dtype)
    return _chosen(model.spec, task, place).make(Found(model, place, sentences))


def _chosen(spec: ModelSpec, name: str | None, place: Path) -> Task:
    if name is None:
        fitting = [task for task in TASKS.values() if task.fits(spec)]
        if fitting:
            return fitting[0]
        raise CheckpointError(f"no task reads {place}, {_described(spec)}; regard.load_model loads it as a bare model")
    task = TASKS[name]
    if not task.fits(spec):
        raise CheckpointError(
            f"{place} is no model for {name}: it is {_described(spec)}, and {task.what} is {task.needs}; "
            "regard.load_model loads it as a bare model"
        )
    return task


def _described(spec: ModelSpec) -> str:
    article = "a" if spec.form in ("decoder", "pair") else "an"
    return f"{article} {spec.form} ({spec.family}) with a {spec.output.kind} head"
