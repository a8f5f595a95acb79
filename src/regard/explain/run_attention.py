"""Where the model of a run looked in some of its held-out examples, by the run's task."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regard.data.objectives.files import INLINE, opened
from regard.explain.attention import AttentionExample, cross_attention, self_attention
from regard.explain.maps import Mapped
from regard.explain.patches import PatchAttention, caption_attention, class_attention
from regard.explain.sounds import SoundAttention, Spoken, frame_labels, transcript_attention
from regard.features.mel import LogMel
from regard.tasks.judging.images import IMAGE
from regard.tasks.judging.judgement import Judgement
from regard.tasks.judging.sounds import SOUND
from regard.tasks.reading import Window, batch_of

_MAPS = 3
_READABLE = 60  # tokens of a source whose heat map is still read at a glance
_SECONDS = 12.0  # of a recording of which the same is true
Draw = Callable[[Any, Judgement], Mapped | None]  # a loaded task and an example; None where there is nothing to see


def attention_of(name: str, task: Any, items: Sequence[Judgement]) -> Iterator[Mapped]:
    """Where the model looked in three of the items, chosen without regard to what it made of them: of different groups
    where there are several; of texts and recordings those that are read at a glance, or the shortest ones. Nothing for
    a task without a picture of its attention, and for an engine that shows no weights."""
    if name not in _DRAW or not callable(task.engine):  # an exported one
        return
    found = 0
    for item in _apart(_readable(name, task, [item for item in items if _is_there(item)])):
        drawn = _DRAW[name](task, item)
        if drawn is not None:
            yield drawn
            found += 1
        if found == _MAPS:
            return


def _is_there(item: Judgement) -> bool:
    """Whether the file that the data name can still be looked at, where they name one."""
    files = [item.inputs[name] for name in (IMAGE, SOUND) if name in item.inputs]
    return all(file.startswith(INLINE) or Path(file).is_file() for file in files)


def _apart(items: Sequence[Judgement]) -> list[Judgement]:
    """The first of every group before all others; of more groups than are drawn, those at equal distances."""
    firsts = sorted({items[place].group: place for place in reversed(range(len(items)))}.values())
    count = min(_MAPS, len(firsts))
    chosen = [firsts[number * len(firsts) // count] for number in range(count)]
    return [items[place] for place in dict.fromkeys([*chosen, *range(len(items))])]


def _readable(name: str, task: Any, items: Sequence[Judgement]) -> Sequence[Judgement]:
    measure, most = _LENGTH.get(name, (lambda task, item: 1.0, 1.0))
    measured = [(measure(task, item), item) for item in items]
    short = [item for length, item in measured if length <= most]
    return short if len(short) >= _MAPS else [item for _, item in sorted(measured, key=lambda pair: pair[0])]


def _translator_languages(task: Any, judgement: Judgement) -> dict[str, str | None]:
    source_lang, target_lang = judgement.languages
    return {
        "source_lang": source_lang if task.source_languages else None,
        "target_lang": target_lang if task.languages else None,
    }


def _translation(task: Any, item: Judgement) -> AttentionExample | None:
    languages, source = _translator_languages(task, item), item.inputs["source"]
    return _text_to_text(task, task.source_ids(source, **languages), task(source, **languages).token_ids)


def _summary(task: Any, item: Judgement) -> AttentionExample | None:
    text = item.inputs["text"]
    return _text_to_text(task, task.source_ids(text), task(text, long="cut").token_ids)


def _written(task: Any, item: Judgement) -> AttentionExample | None:
    source = item.inputs["source"]
    return _text_to_text(task, task.source_ids(source), task(source).token_ids)


def _text_to_text(task: Any, read: list[int], written: Sequence[int]) -> AttentionExample | None:
    if not written:
        return None
    if task.engine.spec.form == "decoder":  # which has read and written in one
        ids = np.array([[*read, *written]], np.int32)
        return self_attention(task.engine, task.tokenizer, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return cross_attention(task.engine, task.tokenizer, read, written)


def _labelled(task: Any, item: Judgement) -> AttentionExample:
    encoding = task.encodings([item.inputs["text"]], [item.inputs["pair"]] if "pair" in item.inputs else None)[0]
    return self_attention(task.engine, task.tokenizer, batch_of([encoding], task.engine.spec), item.output)


def _tagged(task: Any, item: Judgement) -> AttentionExample:
    encoding = task.tokenizer.encode_text(item.inputs["text"], max_length=task.max_length)
    return self_attention(task.engine, task.tokenizer, batch_of([encoding], task.engine.spec), item.output)


def _answered(task: Any, item: Judgement) -> AttentionExample:
    """The question and a stretch of the context: the first that has the answer, or where there is none the first."""
    question, context = item.inputs["question"], item.inputs["context"]
    asked = len(task.tokenizer.encode_text(question).ids)
    wanted = max(_READABLE, 2 * asked)
    found = task.windows(question, context, min(wanted, task.max_length or wanted))
    place = context.find(item.output)
    encoding = next((own for own in found if _shows(own, place, place + len(item.output))), found[0]).encoding
    return self_attention(task.engine, task.tokenizer, batch_of([encoding], task.engine.spec), item.output)


def _shows(window: Window, start: int, end: int) -> bool:
    """Whether these characters of the context stand in it."""
    stretch = window.encoding.offsets[window.before : window.before + window.length]
    return bool(stretch) and stretch[0][0] <= start and end <= stretch[-1][1]


def _read(task: Any, item: Judgement) -> AttentionExample:
    """The beginning of a text, as training reads it: a language model's follows the token that begins one."""
    tokenizer, text = task.tokenizer, item.inputs["text"]
    if task.engine.spec.form == "encoder":
        encoding = tokenizer.encode_text(text, max_length=_READABLE)
        return self_attention(task.engine, tokenizer, batch_of([encoding], task.engine.spec))
    begin = tokenizer.id_of("eos") if tokenizer.bos_id is None else tokenizer.bos_id
    ids = np.array([[begin, *tokenizer.encode_plain(text)][:_READABLE]], np.int32)
    return self_attention(task.engine, tokenizer, {"input_ids": ids, "attention_mask": np.ones_like(ids)})


def _class(task: Any, item: Judgement) -> PatchAttention:
    image = opened(item.inputs[IMAGE])
    best = task(image)
    title = f"{best.label} ({best.score:.2f})" + ("" if item.right else f"; right is {item.reference}")
    return class_attention(task.engine, task.batches.processor, image, title)


def _caption(task: Any, item: Judgement) -> PatchAttention | None:
    image = opened(item.inputs[IMAGE])
    written = task(image, language=item.languages[1]).token_ids
    return caption_attention(task.engine, task.batches.processor, task.tokenizer, image, written) if written else None


def _transcript(task: Any, item: Judgement) -> SoundAttention | None:
    language = item.languages[1] if task.languages else None
    spoken = Spoken(*task.first_window(opened(item.inputs[SOUND]), language))
    if not spoken.ids:
        return None
    return transcript_attention(task.engine, task.tokenizer, spoken, _frame_seconds(task.processor.log_mel))


def _path(task: Any, item: Judgement) -> SoundAttention:
    window = task.processor.recording(opened(item.inputs[SOUND])).features_from(0)
    return frame_labels(task.engine, task.tokenizer, window, task.blank, _frame_seconds(task.processor.log_mel))


def _frame_seconds(log_mel: LogMel) -> float:
    return log_mel.hop_length / log_mel.sampling_rate


def _tokens(task: Any, item: Judgement) -> float:
    return len(task.tokenizer.encode_text(item.inputs["text"]).ids)


def _pair_tokens(task: Any, item: Judgement) -> float:
    return len(task.tokenizer.encode_pair(item.inputs["question"], item.inputs["context"]).ids)


def _seconds(task: Any, item: Judgement) -> float:
    return len(task.processor.samples(opened(item.inputs[SOUND]))) / float(task.processor.log_mel.sampling_rate)


_DRAW: dict[str, Draw] = {
    "translate": _translation,
    "summarise": _summary,
    "text-to-text": _written,
    "language-model": _read,
    "masked-language-model": _read,
    "classify": _labelled,
    "tag": _tagged,
    "answer": _answered,
    "classify-image": _class,
    "caption": _caption,
    "transcribe": _transcript,
    "transcribe-ctc": _path,
}
_LENGTH: dict[str, tuple[Callable[[Any, Judgement], float], float]] = {
    "translate": (
        lambda task, item: len(task.source_ids(item.inputs["source"], **_translator_languages(task, item))),
        _READABLE,
    ),
    "summarise": (lambda task, item: len(task.source_ids(item.inputs["text"])), _READABLE),
    "text-to-text": (lambda task, item: len(task.source_ids(item.inputs["source"])), _READABLE),
    **dict.fromkeys(("language-model", "masked-language-model", "classify", "tag"), (_tokens, _READABLE)),
    "answer": (_pair_tokens, _READABLE),
    "transcribe": (_seconds, _SECONDS),
    "transcribe-ctc": (_seconds, _SECONDS),
}
