"""A path -> the task that its checkpoint is for."""

from pathlib import Path
from typing import Any, Literal

from regard.errors import CheckpointError, ConfigError
from regard.interop.directory import ENGINE
from regard.specs import ModelSpec
from regard.tasks.catalog import TASKS, Task
from regard.tasks.found import Found
from regard.tasks.locate import engine_of, model_place
from regard.tasks.purpose import meant, suited
from regard.tasks.sentence_modules import MODULES, read_modules

Engine = Literal["tensorflow", "openvino"]
GENERATING = ("translate", "summarise", "generate", "chat", "caption")  # which any engine runs


def load(
    path: str | Path,
    dtype: str = "float32",
    task: str | None = None,
    engine: Engine | None = None,
    assistant: str | Path | None = None,
    shortlist: str | Path | None = None,
) -> Any:
    """The task that the checkpoint at `path` is for, a `Translator`, `TextClassifier`, `Embedder` and so on; `task`, a
    key of TASKS, where another one is wanted.

    path: a model directory; a run directory, which stands for its finished model, else its best checkpoint; a .gguf
    file; a name in `regard.interop.packaged.PACKAGES`; or the id of a model on the hub. dtype: as for `load_model`;
    for OpenVINO float32, bfloat16 or int8 weights, and of an exported model those that it has. engine: None: OpenVINO,
    which needs no TensorFlow, for a directory that `regard export` wrote and for int8, else TensorFlow; "openvino" runs
    any model that generates tokens. assistant: the path of a smaller model of the same vocabulary, whose guesses are
    read ahead (`generate` of the models), on the same engine; the same texts are written sooner. shortlist: a file of
    `regard shortlist`; OpenVINO scores no token outside of it: sooner too, and not quite the same texts.
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
    found = Found(_model(place, dtype, engine, shortlist), place, sentences)
    if assistant is not None:
        _assist(found, assistant, dtype)
    return _chosen(found, task).make(found)


def _model(place: Path, dtype: str, engine: str | None, shortlist: str | Path | None = None) -> Any:
    """A model, or an engine that generates as one."""
    if engine_of(place, engine, dtype) == "openvino":
        from regard.export.openvino_model import load_openvino

        return load_openvino(place, weights=dtype, shortlist=shortlist)  # type: ignore[arg-type]  # which refuses others
    if shortlist is not None:
        raise ConfigError("shortlist is for engine='openvino' (--engine openvino): leave it out, or use that engine")
    from regard.interop.checkpoints import load_model  # and with it Keras, which an exported model does without

    return load_model(place, dtype)


def _assist(found: Found, path: str | Path, dtype: str) -> None:
    """Load the model at `path` as the assistant of another, on its engine."""
    place = model_place(path)
    own = "float32" if (place / ENGINE).is_file() else dtype  # an exported one has its weights, whatever the model's
    helper = Found(_model(place, own, "tensorflow" if callable(found.model) else "openvino"), place)
    found.model.take_assistant(helper.model)
    ours, theirs = found.tokenizer, helper.tokenizer
    if ours.content_hash != theirs.content_hash and ours.pieces() != theirs.pieces():
        raise ConfigError(f"the assistant {path} has another vocabulary than {found.place}: it must have its tokens")


def _chosen(found: Found, name: str | None) -> Task:
    spec, place = found.spec, found.place
    if name is None:
        fitting = suited(found, [key for key, task in TASKS.items() if task.fits(spec)])
        if fitting:
            return _on_its_engine(found, meant(found, fitting))
        raise CheckpointError(f"no task reads {place}, {_described(spec)}; regard.load_model loads it as a bare model")
    task = _on_its_engine(found, name)
    if not task.fits(spec):
        raise CheckpointError(
            f"{place} is no model for {name}: it is {_described(spec)}, and {task.what} is {task.needs}; "
            "regard.load_model loads it as a bare model"
        )
    return task


def _on_its_engine(found: Found, name: str) -> Task:
    """The task, unless it asks more of an engine than to generate."""
    if name not in GENERATING and not callable(found.model):
        raise ConfigError(f"{name} runs on TensorFlow alone; on OpenVINO run {', '.join(GENERATING)}")
    return TASKS[name]


def _described(spec: ModelSpec) -> str:
    article = "a" if spec.form in ("decoder", "pair") else "an"
    return f"{article} {spec.form} ({spec.family}) with a {spec.output.kind} head"
