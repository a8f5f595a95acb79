"""Every recorded case of Transformers, loaded and run here: outputs, losses, generated ids and scores, and the way out.

make_cases.py, which needs torch and transformers, makes the cases; README.md says what is in them.
"""

import json
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors import safe_open

import regard
from regard.interop.accounting import Named
from regard.interop.speech_tokens import read_speech_tokens
from regard.interop.tensors import Tensors
from regard.models.catalog import family
from regard.tasks.sentence_modules import read_modules

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if (path / "case.json").exists())
BOUND = 1e-4
ANOTHER_WORD = {  # a key, what it said, and what it says now of the same network
    ("activation_function", "swish", "silu"),
    ("tie_word_embeddings", True, False),  # T5 v1.1, whose file has a table of its own all the same
}
EVERY_SEARCH = ("llama-language-model", "marian-seq2seq")
COMPUTED = r"\.rotary_emb\.inv_freq$|\.position_ids$"  # buffers that older checkpoints store


class Recorded(NamedTuple):
    meta: dict[str, Any]
    inputs: dict[str, dict[str, np.ndarray]]  # by call
    outputs: dict[str, dict[str, np.ndarray]]  # by call
    generated: dict[str, dict[str, np.ndarray]]  # by name


@cache
def recorded(path: Path) -> Recorded:
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {"in": {}, "out": {}, "generate": {}}
    with np.load(path / "case.npz") as arrays:
        for name in arrays.files:
            first, second, third = name.split("/")
            if first == "generate":
                found["generate"].setdefault(second, {})[third] = arrays[name]
            else:
                found[second].setdefault(first, {})[third] = arrays[name]
    meta = json.loads((path / "case.json").read_text("utf-8"))
    return Recorded(meta, found["in"], found["out"], found["generate"])


@lru_cache(maxsize=1)  # the tests come case by case (conftest.py): all compiled models together are gigabytes
def loaded(path: Path):
    return regard.load_model(path)


def calls() -> list[Any]:
    pairs = ((path, call) for path in CASES for call in recorded(path).outputs)
    return [pytest.param(path, call, id=f"{path.name}-{call}") for path, call in pairs]


def searches() -> list[Any]:
    """Every search of two families, and of the others what is their own. OpenVINO's tests make all of them at each run,
    through the same rules; a graph of TensorFlow takes its seconds, so here the others wait for `make test-full`."""
    pairs = [(path, search) for path in CASES for search in recorded(path).meta.get("generate", [])]
    known = {search["name"] for path, search in pairs if path.name in EVERY_SEARCH}
    return [
        pytest.param(
            path,
            search,
            id=f"{path.name}-{search['name']}",
            marks=[pytest.mark.full] if path.name not in EVERY_SEARCH and search["name"] in known - {"beam"} else [],
        )
        for path, search in pairs
    ]


def output_of(found, field: str) -> np.ndarray:
    """A field of Output; `attentions_2` is the third layer's."""
    name, _, number = field.rpartition("_")
    value = getattr(found, name)[int(number)] if number.isdigit() else getattr(found, field)
    assert value is not None, field
    return np.asarray(value)


def at_real_tokens(field: str, difference: np.ndarray, inputs: dict[str, np.ndarray], form: str) -> np.ndarray:
    """What padding attends to, and what is attended to from it, is nobody's business."""
    of_target = form == "encoder-decoder" and not field.startswith("encoder_")
    own = inputs.get("decoder_attention_mask" if of_target else "attention_mask")
    if own is None and of_target and "labels" in inputs:
        own = inputs["labels"] != -100
    if "attentions" in field:
        return difference if own is None else difference * (own[:, None, :, None] > 0)
    if own is None or difference.ndim < 2 or difference.shape[:2] != own.shape:
        return difference
    return difference[own > 0]


def differences(path: Path, call: str) -> dict[str, float]:
    """The largest |difference| of each recorded output of a call."""
    case, model = recorded(path), loaded(path)
    inputs = case.inputs[call]
    output = model(inputs, return_attention=True)
    found = {}
    for field, expected in case.outputs[call].items():
        value = embedded(path, output, inputs) if field == "sentence_embedding" else output_of(output, field)
        assert value.shape == expected.shape, field
        found[field] = float(at_real_tokens(field, np.abs(value - expected), inputs, model.spec.form).max())
    return found


def embedded(path: Path, output, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the modules of a sentence-transformers directory make of the hidden states."""
    real = inputs.get("attention_mask", np.ones_like(inputs["input_ids"]))
    rows = [hidden[mask > 0] for hidden, mask in zip(np.asarray(output.last_hidden_state), real, strict=True)]
    for module in read_modules(path).after:
        rows = [module(row) for row in rows]
    return np.stack(rows)


@pytest.mark.parametrize(("path", "call"), calls())
def test_outputs_and_losses_equal_those_of_transformers(path, call):
    for field, largest in differences(path, call).items():
        assert largest <= recorded(path).meta.get("tolerance", BOUND), field


class Searched(NamedTuple):
    equal: list[bool]  # of each hypothesis, its ids and where it ends
    apart: float | None  # the largest |difference| of the scores; None where none are recorded


def searched(path: Path, search: dict[str, Any]) -> Searched:
    """One recorded search, made again."""
    case, model = recorded(path), loaded(path)
    batch, options = dict(case.inputs[search["call"]]), dict(search["options"])
    expected = case.generated[search["name"]]
    if "decoder_prompt" in expected:  # what Whisper's language and task stand for
        batch["decoder_input_ids"] = expected["decoder_prompt"]
        options = {name: value for name, value in options.items() if name not in ("language", "task")}
    rule = None
    if options.pop("return_timestamps", False):
        rule = read_speech_tokens(model.kept_generation, model.spec, lambda token: None, {}).rule()
    found = model.generate(batch, rule=rule, **options)
    assert found.lengths.shape == expected["lengths"].shape
    ours, theirs = cropped(found.sequences, found.lengths), cropped(expected["sequences"], expected["lengths"])
    apart = float(np.abs(found.scores - expected["scores"]).max()) if "scores" in expected else None
    return Searched([one == other for one, other in zip(ours, theirs, strict=True)], apart)


def cropped(sequences: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    """(B, N, T) and (B, N) -> each hypothesis without its padding."""
    return [sequences[place][: lengths[place]].tolist() for place in np.ndindex(*lengths.shape)]


@pytest.mark.parametrize(("path", "search"), searches())
def test_generated_ids_and_scores_equal_those_of_transformers(path, search):
    found = searched(path, search)
    assert all(found.equal)
    assert found.apart is None or found.apart <= BOUND


def stored(directory: Path) -> dict[str, tuple[str, bytes]]:
    """Each tensor's dtype and bytes, over all shards."""
    found = {}
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # no mapping
                tensor = tensors.get_tensor(name)
                found[name] = (str(tensor.dtype), tensor.tobytes())
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_a_checkpoint_goes_out_as_it_came_in(path, tmp_path):
    """Every tensor, under its name and in its dtype, and every key of the config that we do not understand."""
    regard.save_model(regard.load_model(path, dtype="auto"), tmp_path / "out")
    was, now = (json.loads((directory / "config.json").read_text("utf-8")) for directory in (path, tmp_path / "out"))
    before, after = stored(path), stored(tmp_path / "out")
    if before.keys() != after.keys():  # older names, copies of tied tensors, buffers: the family tells them
        known = family(was["model_type"])
        named = Named(Tensors.open(path), known)
        today = {named.find(name): name for name in after}
        aside = [name for name in before.keys() - today.keys() if not re.search(COMPUTED, name)]
        assert not [name for name in aside if not any(re.fullmatch(pattern, name) for pattern in known.redundant)]
        before = {today[name]: tensor for name, tensor in before.items() if name in today}
    before = {name: tensor for name, tensor in before.items() if not re.search(COMPUTED, name)}
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name] == tensor, name
    assert not list(changed(was, now))


def changed(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """The keys of a config, and of those inside it, that say something else than they did."""
    for key in was.keys() & now.keys() - {"transformers_version", "rope_parameters", "architectures"}:
        if isinstance(was[key], dict) and isinstance(now[key], dict):
            yield from changed(was[key], now[key])
        elif was[key] != now[key] and (key, was[key], now[key]) not in ANOTHER_WORD:
            yield f"{key}: {was[key]} -> {now[key]}"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_what_goes_out_comes_in_as_the_same_model(path, tmp_path):
    model = loaded(path)
    regard.save_model(model, tmp_path / "out")
    again = regard.load_model(tmp_path / "out")
    assert again.spec == model.spec
    assert again.generation_options == model.generation_options
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one.value), np.asarray(other.value), err_msg=one.path)
