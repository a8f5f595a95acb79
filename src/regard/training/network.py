"""The network of a run: a preset with fresh weights, or a checkpoint with a head for the task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.config import RunConfig
from regard.config.tasks import IMAGE_TASKS, SOUND_TASKS, TASKS, TaskName
from regard.data.objectives.objective import Objective
from regard.data.shards import NO_TOKENIZER, PreparedData
from regard.errors import ConfigError
from regard.features.audio import STRIDE, AudioProcessor
from regard.features.tokenizer import Tokenizer
from regard.interop.both_sides import load_both_sides, load_with_decoder
from regard.interop.checkpoints import load_model, load_opened
from regard.interop.described import described
from regard.interop.speech_tokens import told_by
from regard.models.catalog import spec as translator_spec
from regard.models.forms import Transformer, build_model
from regard.models.presets import PRESETS, Vocabulary, preset_spec
from regard.specs import AudioSpec, Form, HeadKind, ModelSpec, PatchSpec, TokenIds
from regard.training.starting import WantedHead, head_for, open_start

HEADS: dict[TaskName, HeadKind] = {
    "translate": "language",
    "summarise": "language",
    "text-to-text": "language",
    "language-model": "language",
    "masked-language-model": "masked_language",
    "span-corruption": "language",
    "classify": "sequence_class",
    "tag": "token_class",
    "answer": "span",
    "embed": "hidden",
    "classify-image": "sequence_class",
    "caption": "language",
    "transcribe": "language",
    "transcribe-ctc": "ctc",
}
FORMS: dict[TaskName, tuple[Form, ...]] = {
    "translate": ("encoder-decoder",),
    "summarise": ("encoder-decoder",),
    "text-to-text": ("encoder-decoder",),
    "language-model": ("decoder",),
    "masked-language-model": ("encoder",),
    "span-corruption": ("encoder-decoder",),
    "classify": ("encoder", "decoder"),
    "tag": ("encoder",),
    "answer": ("encoder",),
    "embed": ("encoder",),
    "classify-image": ("encoder",),
    "caption": ("encoder-decoder",),
    "transcribe": ("encoder-decoder",),
    "transcribe-ctc": ("encoder",),
}
ASKED: tuple[Form, ...] = ("decoder",)  # in place of those, where `data.prompt` says how a language model is asked
SENSING: dict[TaskName, str] = {  # the presets' family
    "classify-image": "vit",
    "caption": "vision-encoder-decoder",
    "transcribe": "whisper",
    "transcribe-ctc": "whisper",
}


def network(run: RunConfig, prepared: PreparedData, dtype: str, checkpoint: Path | None) -> Transformer:
    """The model of a run, with fresh weights that the global seed decides, or those of `model.from`.

    checkpoint: of the run itself, which goes on; its weights are then filled in from there. Raises ConfigError where
    the model is no model for the task, or the data is longer than it reads.
    """
    wanted = wanted_head(run, prepared.manifest.get("names", []))
    if run.model.from_ is None:
        model = build_model(_new_spec(run, prepared, wanted), dtype)
    elif checkpoint is not None:
        model = load_model(checkpoint, dtype)
    else:
        model = _started(run, prepared, dtype, wanted)
    _refuse_unfit(run, model.spec)
    _refuse_no_room(run, model.spec, _told(run, model, prepared))
    if wanted.names:
        numbered = {str(number): name for number, name in enumerate(wanted.names)}
        label2id = {name: number for number, name in enumerate(wanted.names)}
        model.kept_config = {**model.kept_config, "id2label": numbered, "label2id": label2id}
    if run.task in SOUND_TASKS and run.model.from_ is None:  # or whoever reads it would guess, by its vocabulary's size
        model.kept_generation = {**model.kept_generation, "is_multilingual": False}
    if "decoding" in TASKS[run.task].keys:
        model.generation_options = model.generation_options.merged(**run.decoding.model_dump())
    if run.data.prompt is not None:  # an answer ends as its tokenizer's chat template says
        ends = dict.fromkeys((*model.generation_options.eos_ids, prepared.tokenizer.id_of("eos")))
        model.generation_options = model.generation_options.merged(eos_token_id=tuple(ends))
    return model


def forms_of(run: RunConfig) -> tuple[Form, ...]:
    """The forms of network that can learn what a run is for."""
    return FORMS[run.task] if run.data.prompt is None else ASKED


def _started(run: RunConfig, prepared: PreparedData, dtype: str, wanted: WantedHead) -> Transformer:
    """The model of `model.from`, with the head that the task needs; where it is an encoder and the task writes texts,
    both sides begin with it, or of a transcriber what hears."""
    start, tokenizer = open_start(run.model), prepared.tokenizer
    if forms_of(run) == ("encoder-decoder",) and isinstance(tokenizer, Tokenizer):
        found = described(start)
        if run.task not in SENSING and found.spec.form == "encoder":
            begin = tokenizer.id_of("cls")
            return load_both_sides(found, dtype, TokenIds(eos=tokenizer.end_id, decoder_start=begin))
        if run.task == "transcribe" and found.spec.output.kind == "ctc":
            return load_with_decoder(found, dtype, TokenIds(eos=tokenizer.end_id, decoder_start=tokenizer.pad_id))
    return load_opened(start, dtype, head_for(start, wanted))


def refuse_no_network(run: RunConfig) -> None:
    """Raise ConfigError where a preset of texts, and what stands beside it, are no network whatever the data are: to be
    told before these are prepared, which can take hours."""
    if run.model.from_ is None and run.task not in (*IMAGE_TASKS, *SOUND_TASKS):
        ids = {"vocab_size": run.tokenizer.vocab_size, "pad_id": 0, "eos_id": 1}  # whatever they will be
        spec = translator_spec(run.model.preset or "", **ids, **run.model.overrides())
        if spec.form not in forms_of(run):
            raise _unfit(run, spec)


def wanted_head(run: RunConfig, names: Sequence[str]) -> WantedHead:
    """What the task of a run needs; names: the labels of its data, where it has labels."""
    if run.task == "classify":
        return WantedHead("sequence_class", names, run.objective.problem)
    if run.task == "classify-image":
        return WantedHead("sequence_class", names, "single_label")
    return WantedHead(HEADS[run.task], names if run.task == "tag" else ())


def batch_keys(objective: Objective, spec: ModelSpec) -> tuple[str, ...]:
    """The keys of the batches that a model is trained on: token types only where it tells them apart."""
    return tuple(key for key in objective.keys if key != "token_type_ids" or spec.text.token_types)


def _new_spec(run: RunConfig, prepared: PreparedData, wanted: WantedHead) -> ModelSpec:
    if run.task in IMAGE_TASKS:
        return image_spec(run, prepared.tokenizer, wanted)
    if run.task in SOUND_TASKS:
        return sound_spec(run, prepared, wanted)
    return _spec(run, prepared.tokenizer, wanted)


def _sensing_preset(run: RunConfig, what: str) -> str:
    """The run's preset. Raises ConfigError for one that reads something else."""
    name, family = run.model.preset or "", SENSING[run.task]
    if name not in PRESETS or PRESETS[name].family != family:
        known = ", ".join(each for each, preset in PRESETS.items() if preset.family == family)
        raise ConfigError(f"model.preset must be one that reads {what} ({known}) for {run.task}, but is {name!r}")
    return name


def sound_spec(run: RunConfig, prepared: PreparedData, wanted: WantedHead) -> ModelSpec:
    """A preset's spec for the windows that the recordings were prepared for. Raises ConfigError for a preset that
    reads no recordings."""
    name, processor = _sensing_preset(run, "recordings"), prepared.processor
    assert isinstance(processor, AudioProcessor)
    log_mel, vocabulary = processor.log_mel, _vocabulary(prepared.tokenizer, wanted)
    windows: dict[str, Any] = {"source_positions": log_mel.window_frames // STRIDE, "mels": log_mel.feature_size}
    labels = vocabulary.size if wanted.kind == "ctc" else 0
    return preset_spec(name, vocabulary, wanted.kind, labels, **run.model.overrides(), **windows)


def image_spec(run: RunConfig, tokenizer: Tokenizer, wanted: WantedHead) -> ModelSpec:
    """A preset's spec for images of the run's size. Raises ConfigError for a preset that reads no images, and where the
    patches do not fill the images."""
    name, size = _sensing_preset(run, "images"), run.data.image_size
    overrides = {**run.model.overrides(), "image_size": size}
    vocabulary = Vocabulary(1, None, None) if tokenizer is NO_TOKENIZER else _vocabulary(tokenizer, wanted)
    spec = preset_spec(name, vocabulary, wanted.kind, wanted.labels, wanted.problem, **overrides)
    assert isinstance(spec.source, PatchSpec)
    if spec.source.image_height % spec.source.patch_height:
        raise ConfigError(
            f"data.image_size must be a multiple of the patches' {spec.source.patch_height} pixels (model.patch_size), "
            f"but is {size}"
        )
    return spec


def _spec(run: RunConfig, tokenizer: Tokenizer, wanted: WantedHead) -> ModelSpec:
    name, overrides = run.model.preset or "", run.model.overrides()
    if name not in PRESETS:
        ids: dict[str, Any] = {"pad_id": tokenizer.id_of("pad"), "eos_id": tokenizer.end_id}
        return translator_spec(name, vocab_size=tokenizer.vocab_size, **ids, **overrides)
    return preset_spec(name, _vocabulary(tokenizer, wanted), wanted.kind, wanted.labels, wanted.problem, **overrides)


def _vocabulary(tokenizer: Tokenizer, wanted: WantedHead) -> Vocabulary:
    end = tokenizer.end_id if wanted.kind == "language" else tokenizer.eos_id
    return Vocabulary(tokenizer.vocab_size, tokenizer.pad_id, end, tokenizer.bos_id)


def _reads(task: TaskName) -> tuple[str, type]:
    """What the models of a task read, in words and as a spec's source."""
    if task in IMAGE_TASKS:
        return "images", PatchSpec
    return ("recordings", AudioSpec) if task in SOUND_TASKS else ("texts", type(None))


def _refuse_unfit(run: RunConfig, spec: ModelSpec) -> None:
    reads_it = isinstance(spec.source, _reads(run.task)[1])
    if spec.form not in forms_of(run) or not reads_it or spec.output.kind != HEADS[run.task]:
        raise _unfit(run, spec)


def _unfit(run: RunConfig, spec: ModelSpec) -> ConfigError:
    forms, (what_it_reads, _) = forms_of(run), _reads(run.task)
    what = f"model.from = {run.model.from_!r}" if run.model.from_ else f"model.preset = {run.model.preset!r}"
    task = run.task if run.data.prompt is None else f"{run.task} by data.prompt"
    preset = "gpt2-small" if forms == ASKED else TASKS[run.task].defaults["model"]["preset"]
    instead = ""
    if (spec.form,) == ASKED and "data.prompt" in TASKS[run.task].keys:
        instead = "; or set data.prompt, the text behind which a language model is to go on"
    needed = " or ".join((_named(forms[0]), *forms[1:]))
    return ConfigError(
        f"{what} is {_named(spec.form)} with a {spec.output.kind} head, but {task} needs {needed} of {what_it_reads} "
        f"with a {HEADS[run.task]} head, such as the preset {preset}{instead}"
    )


def _named(form: Form) -> str:
    """With its article."""
    return f"{'a' if form in ('decoder', 'pair') else 'an'} {form}"


def _told(run: RunConfig, model: Transformer, prepared: PreparedData) -> int:
    """How many tokens a transcriber is told before it writes, the one that begins every text among them."""
    if run.task != "transcribe" or not isinstance(prepared.tokenizer, Tokenizer):
        return 0
    told = told_by(model.kept_config, model.kept_generation, model.spec, prepared.tokenizer).prefix_length
    return 1 + told if told else 0


def _refuse_no_room(run: RunConfig, spec: ModelSpec, told: int) -> None:
    """Raise ConfigError where a model has fewer positions than the texts of the data, or than those that it is to write
    behind what it is told, so many tokens."""
    if spec.embedding is None or spec.text.positions.kind == "none":
        return
    most = spec.text.positions.max_positions
    lengths = {"data.max_tokens": (run.data.max_tokens, 0)}
    if "decoding" in TASKS[run.task].keys:
        lengths["decoding.max_new_tokens"] = (run.decoding.max_new_tokens, told)
    if run.data.prompt is not None:  # source and target stand in one window
        lengths = {key: (length, run.data.max_tokens) for key, (length, _) in lengths.items()}
    for key, (length, before) in lengths.items():
        if length > most - before:
            less = (
                f" less the {before} tokens that the model {'reads' if run.data.prompt else 'is told'}"
                if before
                else ""
            )
            raise ConfigError(f"{key} must be at most model.max_positions ({most}){less}, but is {length}")
