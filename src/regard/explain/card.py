"""The model card, README.md beside the weights: what the run recorded, in the form that model hubs read."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from regard.corpora import BUILDERS
from regard.data.shards import write_file
from regard.explain.run_facts import RunFacts, facts_of
from regard.explain.transformers_code import transformers_code
from regard.explain.words import is_regression
from regard.features.audio import AudioProcessor
from regard.features.image import ImageProcessor
from regard.interop.directory import REGARD, read_json
from regard.interop.opening import HUB_ID
from regard.metrics.catalog import METRICS
from regard.specs import ModelSpec
from regard.tasks.judging.answers import threshold_note
from regard.tasks.judging.judgement import ALL
from regard.tasks.judging.records import EvaluationRecord

CARD = "README.md"


class Use(NamedTuple):
    """What a run's task is called on hubs, by whom it is loaded there, and how it is used here."""

    pipeline: str
    auto: str | None  # the class of Transformers; None where it has none
    command: str
    python: str
    noun: str


USES: dict[str, Use] = {
    "translate": Use(
        "translation", "AutoModelForSeq2SeqLM", 'translate . "A text."', 'task("A text.").text', "A translator"
    ),
    "summarise": Use(
        "summarization",
        "AutoModelForSeq2SeqLM",
        'summarise . "A long text."',
        'task("A long text.").text',
        "A summariser",
    ),
    "text-to-text": Use(
        "text2text-generation",
        "AutoModelForSeq2SeqLM",
        'generate . "A text."',
        'task("A text.").text',
        "A model that writes a text for a text",
    ),
    "language-model": Use(
        "text-generation", "AutoModelForCausalLM", 'generate . "A text"', 'task("A text").text', "A language model"
    ),
    "masked-language-model": Use(
        "fill-mask",
        "AutoModelForMaskedLM",
        'fill-mask . "A [MASK]."',
        'task(f"A {task.mask}.").masks[0]',
        "A masked language model",
    ),
    "span-corruption": Use(
        "text2text-generation",
        "AutoModelForSeq2SeqLM",
        'generate . "A <extra_id_0> text."',
        'task("A <extra_id_0> text.").text',
        "A pretrained encoder-decoder",
    ),
    "classify": Use(
        "text-classification",
        "AutoModelForSequenceClassification",
        'classify . "A text."',
        'task("A text.").label',
        "A text classifier",
    ),
    "tag": Use(
        "token-classification",
        "AutoModelForTokenClassification",
        'tag . "A text."',
        'task("A text.").entities',
        "A token tagger",
    ),
    "answer": Use(
        "question-answering",
        "AutoModelForQuestionAnswering",
        'answer . "A question?" --context "A text."',
        'task("A question?", "A text.").text',
        "An extractive answerer",
    ),
    "classify-image": Use(
        "image-classification",
        "AutoModelForImageClassification",
        "classify-image . image.png",
        'task("image.png").label',
        "An image classifier",
    ),
    "caption": Use(
        "image-to-text", "AutoModelForImageTextToText", "caption . image.png", 'task("image.png").text', "A captioner"
    ),
    "transcribe": Use(
        "automatic-speech-recognition",
        "AutoModelForSpeechSeq2Seq",
        "transcribe . sound.wav",
        'task("sound.wav").text',
        "A transcriber",
    ),
    "transcribe-ctc": Use(
        "automatic-speech-recognition",
        None,
        "transcribe . sound.wav",
        'task("sound.wav").text',
        "A transcriber without a decoder",
    ),
    "embed": Use("sentence-similarity", "AutoModel", 'embed . "A text."', 'task("A text.").vector', "An embedder"),
}


def write_card(directory: Path) -> Path | None:
    """Write the card of a run's finished model and put the scores into its regard.json, where `regard inspect` finds
    them; None where the run has no finished model yet."""
    model = directory / "model"
    if not (model / REGARD).is_file():
        return None
    facts = facts_of(directory)
    said = read_json(model, REGARD)
    said["scores"] = {**(said.get("scores") or {}), **{name: _plain(each) for name, each in facts.evaluations.items()}}
    write_file(model / REGARD, (json.dumps(said, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode())
    write_file(model / CARD, card(facts, directory.resolve().name).encode("utf-8", "replace"))
    return model / CARD


def card(facts: RunFacts, name: str) -> str:
    """The card as Markdown with YAML in front."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("regard.explain"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = lambda value: json.dumps(value, ensure_ascii=False)  # which YAML reads as it is
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    use = use_of(facts)
    return environment.get_template("card.md").render(
        name=name,
        facts=facts,
        use=use,
        elsewhere=None if use.auto is None else transformers_code(facts, use.auto, _told(facts)),
        network=network_words(facts.spec),
        base=_hub_id(facts),
        languages=_languages(facts),
        results=list(_results(facts.evaluations)),
        seen="images" if facts.run.task == "classify-image" else "tokens",
        limits=list(_limits(facts)),
        minutes=None if facts.seconds is None else round(facts.seconds / 60, 1),
    )


def use_of(facts: RunFacts) -> Use:
    """A translator and a captioner of several languages are told one; which they know, an evaluation says. A regression
    has a number in place of a label, where there may be several labels all have a score, and masks are spelled as the
    tokenizer has them."""
    use = USES[facts.run.task]
    if facts.run.data.prompt is not None:  # a language model is asked
        return use._replace(pipeline="text-generation", auto="AutoModelForCausalLM")
    if facts.run.task == "masked-language-model":
        return use._replace(command=use.command.replace("[MASK]", facts.mask))
    if is_regression(facts.run):
        return use._replace(noun="An estimator of numbers", python='task("A text.").score')
    if facts.run.task == "classify" and facts.run.objective.problem == "multi_label":
        return use._replace(python='task("A text.").scores')
    code = _told(facts)
    if code is None:
        return use
    option = {"translate": "target_lang", "caption": "language"}[facts.run.task]
    told = use.python.replace(")", f', {option}="{code}")', 1)
    return use._replace(command=f"{use.command} --{option.replace('_', '-')} {code}", python=told)


def _told(facts: RunFacts) -> str | None:
    """A language that the model is told, where it knows several."""
    if facts.run.task not in ("translate", "caption") or not facts.run.data.language_tags:
        return None
    written = {group["languages"][1] for record in facts.evaluations.values() for group in record.groups}
    return min(filter(None, written), default="CODE")


def network_words(spec: ModelSpec) -> str:
    """ "encoder-decoder (marian), 3 + 3 layers, width 256, 4 heads"."""
    stacks = [stack for stack in (spec.encoder, spec.decoder) if stack is not None]
    layers = " + ".join(str(stack.depth) for stack in stacks)
    layer = stacks[-1].layer
    return f"{spec.form} ({spec.family}), {layers} layers, width {layer.width}, {layer.heads} heads"


def _plain(record: EvaluationRecord) -> dict[str, Any]:
    """Values alone, by group where there are several."""
    groups = {group["name"]: _values(record, group["scores"]) for group in record.groups}
    return groups[ALL] if list(groups) == [ALL] else groups


def _values(record: EvaluationRecord, scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Translations' are all of 100, as the demo's and sacrebleu's."""
    values = {name: scored["value"] for name, scored in scores.items()}
    if record.task == "translate":
        values = {name: value if value is None else METRICS[name].shown(value) for name, value in values.items()}
    return {name: value if value is None else round(value, 4) for name, value in values.items()}


def _languages(facts: RunFacts) -> list[str]:
    """Those that the evaluated examples name."""
    named = {
        language
        for record in facts.evaluations.values()
        for group in record.groups
        for language in group["languages"]
        if language
    }
    return sorted(named)


class _Result(NamedTuple):
    split: str
    group: str
    title: str
    metric: str
    value: str
    number: float
    interval: str
    examples: int


def _results(evaluations: Mapping[str, EvaluationRecord]) -> Iterator[_Result]:
    for split, record in evaluations.items():
        for group in record.groups:
            for name, scored in group["scores"].items():
                if scored["value"] is not None:
                    yield _result(split, group, name, scored)


def _result(split: str, group: Mapping[str, Any], name: str, scored: Mapping[str, Any]) -> _Result:
    metric = METRICS[name]
    number = round(metric.shown(scored["value"]), metric.digits)
    texts = metric.text(scored["value"]), metric.interval_text(scored["interval"])
    return _Result(split, group["name"], metric.title, name, texts[0], number, texts[1], scored["examples"])


def _limits(facts: RunFacts) -> Iterator[str]:
    """What its data leave out, and what the record says of where the scores end."""
    if facts.run.data.builder in BUILDERS:
        yield BUILDERS[facts.run.data.builder].limits
    if facts.spec.source is None:
        yield f"It was trained on texts of at most {facts.run.data.max_tokens} tokens at once."
    if isinstance(facts.processor, AudioProcessor):
        seconds = facts.processor.log_mel.chunk_length
        yield f"It hears {seconds} s at a time, and was trained on recordings of at most as many."
    if isinstance(facts.processor, ImageProcessor) and facts.processor.output_size is not None:
        height, width = facts.processor.output_size
        yield f"It sees images as {width} x {height} pixels, whatever their size."
    for split, record in facts.evaluations.items():
        cut = sum(group["unfinished"] for group in record.groups if group["name"] != ALL or len(record.groups) == 1)
        if cut:
            yield f"{cut} outputs on the {split} split were cut at the most tokens that may be written."
    for split, record in facts.evaluations.items():
        if (threshold := threshold_note(record.settings)) is not None:
            yield f"On the {split} split {threshold[0].lower()}{threshold[1:]}"
    if facts.evaluations:
        yield f"It was scored on the {' and '.join(facts.evaluations)} split named above, and on no other data."
    else:
        yield "It has not been scored on a test split."


def _hub_id(facts: RunFacts) -> str | None:
    """What the run started from, where that is a name that a hub knows."""
    start = facts.run.model.from_
    return start if start and HUB_ID.fullmatch(start) and not Path(start).exists() else None
