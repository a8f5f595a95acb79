"""The engine without TensorFlow against the recorded searches of Transformers: every generating case, all options."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino")
from regard.export.openvino_model import load_openvino
from regard.interop.speech_tokens import read_speech_tokens

PLACES = Path(__file__).parents[1] / "parity" / "cases"
CASES = {path.name: json.loads((path / "case.json").read_text("utf-8")) for path in sorted(PLACES.iterdir())}
SEARCHES = [(name, search) for name, case in CASES.items() for search in case.get("generate", [])]
BOUND = 1e-4


@cache
def engine(name: str):
    return load_openvino(PLACES / name)


@cache
def recorded(name: str) -> dict[str, np.ndarray]:
    with np.load(PLACES / name / "case.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.mark.parametrize(
    ("name", "search"), [pytest.param(*pair, id=f"{pair[0]}-{pair[1]['name']}") for pair in SEARCHES]
)
def test_ids_and_scores_equal_those_of_transformers(name, search):
    arrays, options = recorded(name), dict(search["options"])
    batch = {key.split("/")[2]: value for key, value in arrays.items() if key.startswith(f"{search['call']}/in/")}
    prefix = f"generate/{search['name']}/"
    expected = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    if "decoder_prompt" in expected:  # what Whisper's language and task stand for
        batch["decoder_input_ids"] = expected["decoder_prompt"]
        options = {key: value for key, value in options.items() if key not in ("language", "task")}
    model, rule = engine(name), None
    if options.pop("return_timestamps", False):
        rule = read_speech_tokens(model.kept_generation, model.spec, lambda token: None, {}).rule()
    found = model.generate(batch, rule=rule, **options)
    np.testing.assert_array_equal(found.lengths, expected["lengths"])
    for place in np.ndindex(*expected["lengths"].shape):
        length = expected["lengths"][place]
        np.testing.assert_array_equal(found.sequences[place][:length], expected["sequences"][place][:length])
    if "scores" in expected:
        np.testing.assert_allclose(found.scores, expected["scores"], atol=BOUND)
