"""A path -> the task that its checkpoint is for."""

from pathlib import Path

from regard.errors import CheckpointError
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import load_model
from regard.specs import ModelSpec
from regard.tasks.locate import model_directory
from regard.tasks.translate import Translator


def load(path: str | Path, dtype: str = "float32") -> Translator:
    """The translator of a model directory, or of a run directory: its finished model, else its best checkpoint.

    dtype: "float32", "bfloat16" or "mixed_bfloat16". Raises CheckpointError where there is no model, a file is damaged,
    or the tokenizer is another model's.
    """
    directory = model_directory(path)
    tokenizer = Tokenizer.load(directory)
    model = load_model(directory, dtype)
    _require_translator(model.spec, directory)
    _require_same_vocabulary(model.spec, tokenizer, directory)
    return Translator(model, tokenizer, model.generation_options)


def _require_translator(spec: ModelSpec, directory: Path) -> None:
    if spec.form != "encoder-decoder":
        raise CheckpointError(
            f"{directory} is no translator: it has the form {spec.form}, and a translator is an encoder-decoder; "
            "regard.load_model loads it as a bare model"
        )


def _require_same_vocabulary(spec: ModelSpec, tokenizer: Tokenizer, directory: Path) -> None:
    pairs = {
        "vocabulary": (tokenizer.vocab_size, spec.embedding.vocab_size),
        "eos id": (tokenizer.eos_id, spec.tokens.eos),
        "pad id": (tokenizer.pad_id, spec.tokens.pad),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise CheckpointError(
                f"{directory}: the tokenizer is another model's: its {name} is {ours}, but the model's is {theirs}"
            )
