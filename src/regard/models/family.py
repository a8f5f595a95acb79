"""What a family is: how its config reads and writes, and what its weights are called."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import numpy as np

from regard.errors import CheckpointError
from regard.models.weights import Rule, StoredTensors, same
from regard.specs import Activation, HeadKind, HeadSpec, ModelSpec, Problem, TokenIds

ACTIVATION_NAMES: dict[Activation, str] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_new",
    "quick_gelu": "quick_gelu",
    "silu": "silu",
    "tanh": "tanh",
    "gelu_10": "gelu_10",
    "mish": "mish",
    "leaky_relu": "leaky_relu",
    "sigmoid": "sigmoid",
    "linear": "linear",
    "relu2": "relu2",
    "relu6": "relu6",
}
_ACTIVATIONS: dict[str, Activation] = {name: ours for ours, name in ACTIVATION_NAMES.items()} | {
    "swish": "silu",
    "gelu_python": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_fast": "gelu_tanh",  # the same polynomial, with its constants rounded
}
PROBLEM_NAMES: dict[Problem, str] = {
    "regression": "regression",
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
}
TOKEN_KEYS = ("pad_token_id", "eos_token_id", "bos_token_id", "decoder_start_token_id")
LEGACY_NORMS = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))  # TensorFlow's names, of the first checkpoints
# What a class of Transformers has on its hidden states, by the end of its name.
_HEADS: dict[str, HeadKind] = {
    "ForMaskedLM": "masked_language",
    "ForPreTraining": "masked_language",
    "ForSequenceClassification": "sequence_class",
    "ForImageClassification": "sequence_class",
    "ForImageClassificationWithTeacher": "sequence_class",
    "ForTokenClassification": "token_class",
    "ForQuestionAnswering": "span",
    "ForCTC": "ctc",
    "LMHeadModel": "language",
    "ForCausalLM": "language",
    "ForConditionalGeneration": "language",
    "MTModel": "language",
    "EncoderDecoderModel": "language",
    "Model": "hidden",
}


class Config(dict[str, Any]):
    """A config.json that knows which of its keys were read; the others are kept for the way out."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = {"architectures", "model_type", "dtype", "torch_dtype", "transformers_version"}
        self.inner: dict[str, Config] = {}

    def __getitem__(self, key: str) -> Any:
        """Raises KeyError where the key is absent or null."""
        self.read.add(key)
        value = super().__getitem__(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The default where the key is absent or null."""
        self.read.add(key)
        value = super().get(key)
        return default if value is None else value

    def nullable(self, key: str, default: Any) -> Any:
        """The default where the key is absent; null is None, which says something."""
        self.read.add(key)
        return super().get(key, default)

    def within(self, key: str, *older: str) -> "Config":
        """The config inside this one: of a part of the model. Under an older key it takes precedence."""
        values = [self.get(name) for name in (*older, key) if self.get(name) is not None] or [{}]
        if not isinstance(values[0], dict):
            raise CheckpointError(f"config.json: {key} must be an object, but is {values[0]!r}")
        self.inner[key] = Config(values[0])
        return self.inner[key]

    def head_width(self, width: int, heads: int) -> int:
        """Of heads that share the width."""
        if type(heads) is not int or heads < 1 or width % heads:
            raise CheckpointError(f"config.json: the width ({width}) must be a multiple of the heads ({heads})")
        return width // heads

    @property
    def eos(self) -> int | tuple[int, ...] | None:
        """`eos_token_id`, one or several."""
        token = self.get("eos_token_id")
        return tuple(token) if isinstance(token, list) else token

    def activation(self, key: str, default: str | None = None) -> Activation:
        name = self[key] if default is None else self.get(key, default)
        if name not in _ACTIVATIONS:
            raise CheckpointError(f"config.json: unknown {key} {name!r}: known are {', '.join(get_args(Activation))}")
        return _ACTIVATIONS[name]

    def unread(self) -> dict[str, Any]:
        """Of a config inside, its own unread keys."""
        inner = {key: config.unread() for key, config in self.inner.items()}
        return {key: value for key, value in self.items() if key not in self.read} | inner

    @property
    def architecture(self) -> str:
        """Which class of Transformers the checkpoint is of; "" where it does not say."""
        names = self.get("architectures") or [""]
        return names[0] if isinstance(names, list) and isinstance(names[0], str) else ""

    @property
    def head(self) -> HeadKind:
        """The kind of head that the architecture has; "hidden" where the config does not say."""
        ends = [end for end in _HEADS if self.architecture.endswith(end)]
        return _HEADS[max(ends, key=len)] if ends else "hidden"

    @property
    def labels(self) -> int:
        """How many classes a classifier tells apart: id2label is kept as it is, so it does not count as read."""
        if isinstance(super().get("id2label"), dict):
            return len(super().get("id2label", {}))
        count = super().get("num_labels")
        if count is not None and type(count) is not int:
            raise CheckpointError(f"config.json: num_labels must be a whole number, but is {count!r}")
        return 2 if count is None else count

    @property
    def problem(self) -> Problem | None:
        named = {name: problem for problem, name in PROBLEM_NAMES.items()}
        return named.get(self.get("problem_type", ""))


def two_sides(config: Config, encoders: Sequence[str], decoders: Sequence[str]) -> tuple[Config, Config]:
    """The configs of encoder and decoder inside one. Raises CheckpointError for a model_type that is not known."""
    sides = config.within("encoder"), config.within("decoder")
    for name, side, known in zip(("encoder", "decoder"), sides, (encoders, decoders), strict=True):
        if side.get("model_type") not in known:
            listed, said = " and ".join(known), side.get("model_type")
            raise CheckpointError(f"config.json: {name} of model_type {said!r} is not supported; known are {listed}")
    return sides


def writer_tokens(config: Config, text: Config) -> TokenIds:
    """Of a model with a config for each side: what the config names at the top, else in `text`, the decoder's, where
    it is kept unread. Where no start is named, Transformers begins with bos."""
    found = {key: config.get(key) if config.get(key) is not None else text.get(key) for key in TOKEN_KEYS}
    text.read -= set(TOKEN_KEYS)
    config.read.discard("bos_token_id")
    pad, eos, bos, start = found.values()
    return TokenIds(pad, tuple(eos) if isinstance(eos, list) else eos, decoder_start=bos if start is None else start)


def label_config(head: HeadSpec) -> dict[str, Any]:
    """What config.json says of a classifier."""
    if not head.labels:
        return {}
    names = {str(i): f"LABEL_{i}" for i in range(head.labels)}
    ids = {name: int(i) for i, name in names.items()}
    problem = {} if head.problem is None else {"problem_type": PROBLEM_NAMES[head.problem]}
    return {"id2label": names, "label2id": ids, **problem}


def as_built(spec: ModelSpec, tensors: StoredTensors) -> ModelSpec:
    """The tensors say nothing that the config does not."""
    return spec


def with_own_table(spec: ModelSpec, tensors: StoredTensors, own: str, embedding: str) -> ModelSpec:
    """Two tables that differ are two, whatever the config says: the one that predicts, and the embedding's."""
    head = spec.output
    if not head.predicts_tokens or not head.tied or own not in tensors or embedding not in tensors:
        return spec
    return replace(spec, head=replace(head, tied=same(tensors, own, embedding)))


def no_constants(spec: ModelSpec) -> dict[str, Callable[[], np.ndarray]]:
    return {}


class Family(NamedTuple):
    """A family is data."""

    from_config: Callable[[Config], ModelSpec]
    config: Callable[[ModelSpec], dict[str, Any]]
    rules: Callable[[ModelSpec], list[Rule]]
    adapt: Callable[[ModelSpec, StoredTensors], ModelSpec] = as_built  # what only the tensors say
    constants: Callable[[ModelSpec], dict[str, Callable[[], np.ndarray]]] = no_constants  # of the layout, not variables
    redundant: tuple[str, ...] = ()  # patterns of tensors that say nothing new, and are read past
    renames: tuple[tuple[str, str], ...] = ()  # patterns of names that older checkpoints use -> today's
    prefix: str = ""  # before the bare model's names in a model with a head; a file may have it or not
