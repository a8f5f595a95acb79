"""What the language model of a run writes after the beginnings of some of its held-out texts."""

import re
from collections.abc import Sequence
from typing import Any

from regard.explain.report import Sample
from regard.tasks.judging.judgement import Judgement

_TOKENS = 48
_BEGINNING = re.compile(r"\s*(?:\S+\s+){0,7}\S+")  # eight words
_LONGEST = 60  # characters, of scripts that leave no space between words
DRAWN = {"do_sample": True, "num_beams": 1, "temperature": 0.8, "top_k": 0, "top_p": 0.95, "seed": 1}
NOTE = (
    f"After the first words of the texts below: at most {_TOKENS} tokens, drawn at temperature {DRAWN['temperature']} "
    f"from the fewest that hold {DRAWN['top_p']} of the probability (seed {DRAWN['seed']}), and none of them chosen."
)


def samples_of(name: str, task: Any, items: Sequence[Judgement]) -> list[Sample]:
    """One for each item of a language model, as far as it has room behind the words; nothing of other tasks."""
    if name != "language-model":
        return []
    found = (_BEGINNING.match(item.inputs["text"]) for item in items)
    prompts = list(dict.fromkeys(_cut(match[0]) for match in found if match is not None))
    room = {prompt: _room(task, prompt) for prompt in prompts}
    fitting = [prompt for prompt in prompts if room[prompt] > 0]
    if not fitting:
        return []
    tokens = min(_TOKENS, *(room[prompt] for prompt in fitting))
    written = task(fitting, max_new_tokens=tokens, **DRAWN)
    return [Sample(prompt, answer.text) for prompt, answer in zip(fitting, written, strict=True)]


def _cut(words: str) -> str:
    """The whole ones of them that fit, or what fits of one."""
    fitting = words[:_LONGEST]
    if len(words) == len(fitting):
        return words
    return fitting.rsplit(maxsplit=1)[0] if re.search(r"\S\s+\S", fitting) else fitting


def _room(task: Any, prompt: str) -> int:
    """How many tokens may follow."""
    most = task.max_tokens
    return _TOKENS if most is None else most - len(task.tokenizer.encode_text(prompt).ids)
