import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.errors import InputError
from regard.explain.attention import CELL, GAMMA, AttentionExample, attention_svg, cross_attention
from regard.explain.run_attention import _apart
from regard.tasks.judging.judgement import Judgement

SVG = "{http://www.w3.org/2000/svg}"
PAD = 9


def example_of(L: int, N: int, source: tuple[str, ...], target: tuple[str, ...], seed: int = 0) -> AttentionExample:
    scores = np.random.default_rng(seed).normal(0, 2, (L, N, len(target), len(source)))
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return AttentionExample(source, target, weights, " ".join(source), " ".join(target))


def cells_of(svg: str) -> dict[tuple[int, int], ElementTree.Element]:
    """(t, s) -> the square drawn for it."""
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    (cells,) = [group for group in groups if group.get("class") == "cells"]
    return {(int(cell.attrib["y"]), int(cell.attrib["x"])): cell for cell in cells}


class ScriptedModel:
    """Answers with fixed weights and remembers the batch."""

    spec = SimpleNamespace(tokens=SimpleNamespace(decoder_start=PAD))

    def __init__(self, *layers: np.ndarray) -> None:
        self.layers = layers

    def __call__(self, batch: dict[str, np.ndarray], *, return_attention: bool) -> Any:
        assert return_attention
        self.batch = batch
        return SimpleNamespace(cross_attentions=self.layers)


class LetterTokenizer:
    pad_id = PAD

    def tokens(self, ids: list[int]) -> list[str]:
        return ["abcdefgh"[token] for token in ids]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.tokens(ids))


def test_a_row_is_the_output_token_that_is_predicted_there() -> None:
    layers = [np.random.default_rng(seed).random((1, 2, 3, 4)) for seed in range(2)]
    model = ScriptedModel(*layers)
    example = cross_attention(model, LetterTokenizer(), [4, 5, 6, 0], [1, 2, 0])
    assert model.batch["input_ids"].tolist() == [[4, 5, 6, 0]]
    assert model.batch["attention_mask"].tolist() == [[1, 1, 1, 1]]
    assert model.batch["decoder_input_ids"].tolist() == [[PAD, 1, 2]]
    assert {array.dtype for array in model.batch.values()} == {np.dtype("int32")}
    assert (example.source_tokens, example.target_tokens) == (("e", "f", "g", "a"), ("b", "c", "a"))
    assert (example.source, example.output) == ("efga", "bca")
    np.testing.assert_allclose(example.weights, np.concatenate(layers), rtol=1e-6)


def test_padding_at_the_ends_is_no_token_of_the_picture() -> None:
    model = ScriptedModel(np.full((1, 1, 2, 2), 0.5))
    example = cross_attention(model, LetterTokenizer(), np.array([1, 0, PAD, PAD]), np.array([2, 0, PAD]))
    assert (example.source_tokens, example.target_tokens) == (("b", "a"), ("c", "a"))


@pytest.mark.parametrize(("source", "output"), [([], [1]), ([1], []), ([PAD, PAD], [1])])
def test_an_empty_side_is_refused(source: list[int], output: list[int]) -> None:
    with pytest.raises(InputError, match="at least one source token and one output token"):
        cross_attention(ScriptedModel(), LetterTokenizer(), source, output)


def test_weights_of_another_size_than_the_tokens_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(layers, heads, 1, 2\).*\(1, 1, 2, 1\)"):
        AttentionExample(("a", "b"), ("c",), np.ones((1, 1, 2, 1)), "", "")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99), st.data())
def test_every_square_shows_its_weight_and_every_missing_one_is_zero(
    L: int, N: int, T: int, S: int, seed: int, data: st.DataObject
) -> None:
    example = example_of(L, N, tuple("abcdefg"[:S]), tuple("hijklmn"[:T]), seed)
    layer = data.draw(st.integers(0, L - 1))
    head = data.draw(st.sampled_from(["mean", *range(N)]))
    wanted = example.weights[layer].mean(0) if head == "mean" else example.weights[layer, head]
    shown = np.zeros((T, S))
    for (t, s), cell in cells_of(attention_svg(example, layer, head)).items():
        title = cell.findtext(f"{SVG}title")
        assert title is not None
        target, source, weight = re.fullmatch(r"(\S+) ← (\S+) (\S+)", title).groups()
        assert (target, source) == (example.target_tokens[t], example.source_tokens[s])
        shown[t, s] = float(weight)
        assert float(cell.attrib["fill-opacity"]) == pytest.approx(float(weight) ** GAMMA, abs=1e-3)
    np.testing.assert_allclose(shown, wanted, atol=5.1e-4)


def test_the_tokens_label_their_columns_and_rows() -> None:
    example = example_of(1, 1, ("瑞士", "▁Franken", "a b"), ("▁Swiss", "francs"))
    root = ElementTree.fromstring(attention_svg(example, 0))
    groups = {group.get("class"): group for group in root.iter(f"{SVG}g")}
    for name, tokens in (("source-labels", example.source_tokens), ("target-labels", example.target_tokens)):
        assert [text.findtext(f"{SVG}title") for text in groups[name]] == list(tokens)
    assert [text[0].tail for text in groups["source-labels"]] == ["瑞士", "▁Franken", "a␣b"]
    rows = [float(text.attrib["y"]) for text in groups["target-labels"]]
    assert rows[1] - rows[0] == pytest.approx(CELL)


def test_a_long_token_is_shortened_on_its_axis_and_whole_in_its_title() -> None:
    token = "Donaudampfschifffahrtsgesellschaft"
    svg = attention_svg(example_of(1, 1, (token, "b"), (token,)), 0)
    root = ElementTree.fromstring(svg)
    labels = [text for text in root.iter(f"{SVG}text") if text.findtext(f"{SVG}title") == token]
    assert len(labels) == 2
    for label in labels:
        shown = label[0].tail
        assert shown.endswith("…")
        assert token.startswith(shown[:-1])
    assert float(root.attrib["width"]) < 400


def test_markup_and_characters_that_xml_forbids_stay_text() -> None:
    token = "<script>&\"'\x00\ud800"
    svg = attention_svg(example_of(1, 1, (token,), ("b",)), 0)
    svg.encode("utf-8")
    (cell,) = cells_of(svg).values()
    assert cell.findtext(f"{SVG}title") == "b ← <script>&\"'\ufffd\ufffd 1.000"
    assert "<script" not in svg


@pytest.mark.parametrize(("layer", "head"), [(2, "mean"), (-1, 0), (0, 3), (0, -1)])
def test_a_layer_or_head_that_does_not_exist_is_refused(layer: int, head: Any) -> None:
    with pytest.raises(InputError, match="layer must be below 2 and head below 3"):
        attention_svg(example_of(2, 3, ("a",), ("b",)), layer, head)


@given(st.lists(st.sampled_from("abcde"), max_size=12))
def test_the_first_of_every_group_come_before_others_and_nothing_is_lost(groups):
    items = [Judgement({"text": str(place)}, "", "", {}, 0.0, group=group) for place, group in enumerate(groups)]
    found = [item.group for item in _apart(items)]
    assert sorted(found) == sorted(groups)
    first = found[: min(3, len(set(groups)))]
    assert len(set(first)) == len(first)
    if groups:
        assert first[0] == groups[0]
