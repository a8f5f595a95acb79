import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.config.tasks import TASKS
from regard.explain.attention import GAMMA, AttentionExample
from regard.explain.curves import Curves
from regard.explain.maps import MAX_WEIGHTS
from regard.explain.report import (
    Item,
    Report,
    Sample,
    Table,
    charts,
    difference,
    format_cell,
    render,
    write_report,
)
from regard.explain.words import WORDS

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """The page's elements in order: (tag, attributes, text directly inside)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        entry = (tag, dict(attrs), [])
        self.elements.append(entry)
        if tag not in ("meta", "link", "img"):
            self.open.append(entry)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1][2].append(data)

    def all(self, tag: str, class_: str | None = None) -> list[tuple[dict[str, str | None], str]]:
        return [
            (attributes, "".join(text))
            for name, attributes, text in self.elements
            if name == tag and (class_ is None or class_ in (attributes.get("class") or "").split())
        ]

    def data(self) -> list[Any]:
        return [json.loads(text) for attributes, text in self.all("script") if attributes.get("type")]


def example_of(L: int, N: int, source: list[str], target: list[str], sharp: float = 2.0) -> AttentionExample:
    scores = np.random.default_rng(1).normal(0, sharp, (L, N, len(target), len(source)))
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    return AttentionExample(tuple(source), tuple(target), weights.astype(np.float32), "".join(source), "".join(target))


def curves_of(steps: int) -> Curves:
    return Curves(
        train=tuple(
            {"kind": "train", "step": step, "loss": 9 / step, "learning_rate": 1e-3, "tokens_per_second": 9000.0}
            for step in range(1, steps + 1)
        ),
        validation=tuple(
            {"kind": "validation", "step": step, "loss": 8 / step, "bleu": 90.0, "chrf": 95.0}
            for step in range(5, steps + 1, 5)
        ),
    )


def report_of(**changes: Any) -> Report:
    report = Report(
        title="Dates in three languages",
        summary="A small Transformer.",
        headline={"exact match": "98.1 %"},
        facts={"Model": {"parameters": 1_912_832, "dropout": 0.1, "bias": None}},
        curves=curves_of(20),
        scores=[Table("By direction", ("direction", "BLEU"), [("en → de", 97.5), ("de → zh", None)], "greedy")],
        items=[
            Item("Thursday", "星期四", "星期四", True, "en", "zh"),
            Item("two o'clock", "zwei Uhr", "drei Uhr", False, "en", "de"),
        ],
        worst=[Item("noon", "Mittag", "Nacht", False, "en", "de", remark="chrF 4.0")],
        attention=[
            example_of(2, 3, [">>zh<<", "▁Thurs", "day", "</s>"], ["星期", "四", "</s>"]),
            example_of(2, 3, ["星", "期", "</s>"], ["Donaudampfschifffahrt", "</s>"]),
            example_of(1, 1, ["a"], ["b", "c"]),
        ],
    )
    return dataclasses.replace(report, **changes)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(report_of()))


def test_the_file_is_written_whole_and_its_path_returned(tmp_path: Path) -> None:
    path = write_report(tmp_path / "report.html", report_of())
    assert path == tmp_path / "report.html"
    assert path.read_text("utf-8") == render(report_of())


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    text = render(report_of())
    parsed = Page(text)
    for _, attributes, _ in parsed.elements:
        assert not {"src", "srcset", "data", "action", "poster"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _, _ in parsed.elements}
    assert not re.search(r"https?:|//[a-z]|url\(|@import|fetch\(|XMLHttp|import\(", text)


def test_the_links_at_the_top_lead_to_sections(page: Page) -> None:
    targets = {f"#{attributes['id']}" for attributes, _ in page.all("section")}
    assert {attributes["href"] for attributes, _ in page.all("a")} == targets
    assert len(targets) == 6


def test_the_curves_have_a_point_a_record(page: Page) -> None:
    drawn = [len(attributes["points"].split()) for attributes, _ in page.all("polyline")]
    assert drawn == [20, 4, 4, 4, 20, 20]  # loss, its validation, BLEU, chrF, learning rate, speed
    figures = [data for data in page.data() if "lines" in data]
    kept = [len(line["points"]) for figure in figures for line in figure["lines"]]
    assert kept == drawn
    assert figures[0]["lines"][1]["points"] == [[5, 1.6], [10, 0.8], [15, 0.53333], [20, 0.4]]


def test_a_chart_without_a_point_is_left_out() -> None:
    only_loss = Curves(train=({"kind": "train", "step": 1, "loss": 2.0},))
    assert [chart.title for chart in charts(only_loss)] == ["Loss"]
    assert [line.name for line in charts(only_loss)[0].lines] == ["training"]
    assert charts(Curves()) == []


@pytest.mark.parametrize(("task", "score"), [(task, name) for task, rules in TASKS.items() for name in rules.scores])
def test_every_score_that_a_run_may_be_best_at_has_a_curve(task: str, score: str) -> None:
    found = charts(Curves(validation=({"kind": "validation", "step": 1, score: 0.25},)), WORDS[task])
    assert len([line for chart in found for line in chart.lines]) == 1
    assert found[0].explanation


def test_torn_lines_are_reported_on_the_page() -> None:
    text = render(report_of(curves=dataclasses.replace(curves_of(5), unreadable=2)))
    assert "2 lines of metrics.jsonl could not be read and are left out" in text
    assert "could not be read" not in render(report_of())


def test_the_page_holds_every_weight_of_every_head_and_their_mean(page: Page) -> None:
    maps = [data for data in page.data() if "weights" in data]
    for data, example in zip(maps, report_of().attention, strict=True):
        L, N, T, S = example.weights.shape
        assert [len(layer) for layer in data["weights"]] == [N + 1 if N > 1 else 1] * L
        for layer in range(L):
            heads = [example.weights[layer].mean(0), *example.weights[layer]] if N > 1 else example.weights[layer]
            for kept, wanted in zip(data["weights"][layer], heads, strict=True):
                np.testing.assert_allclose(np.reshape(kept, (T, S)) / 1000, wanted, atol=5.1e-4)


def test_thousandths_are_exact() -> None:
    weights = np.arange(1001).reshape(1, 1, 1, 1001) / 1000
    example = AttentionExample(("s",) * 1001, ("t",), weights, "", "")
    (data,) = [data for data in Page(render(report_of(attention=[example]))).data() if "weights" in data]
    assert data["weights"] == [[list(range(1001))]]


def test_each_square_of_the_drawn_maps_is_the_last_layers_mean_and_equals_the_scripts_data(page: Page) -> None:
    squares = [attributes for attributes, _ in page.all("rect") if attributes.get("height") == "1"]
    drawn = [
        (int(s["x"]), int(s["y"]), float(s["fill-opacity"])) for s in squares if "fill-opacity" in s and "fill" not in s
    ]
    wanted = [
        (index % len(data["source"]), index // len(data["source"]), pytest.approx((weight / 1000) ** GAMMA, abs=1e-3))
        for data in (data for data in page.data() if "weights" in data)
        for index, weight in enumerate(data["weights"][-1][0])
        if weight
    ]
    assert len(drawn) > 10
    assert drawn == wanted


def test_the_tokens_stand_on_both_axes(page: Page) -> None:
    maps = [data for data in page.data() if "weights" in data]
    for data, example in zip(maps, report_of().attention, strict=True):
        assert data["source"] == list(example.source_tokens)
        assert data["target"] == list(example.target_tokens)
    titles = [text for _, text in page.all("title")]
    for token in (">>zh<<", "▁Thurs", "星期", "四", "Donaudampfschifffahrt"):
        assert token in titles


def test_layers_and_heads_can_be_chosen(page: Page) -> None:
    selects = [attributes["name"] for attributes, _ in page.all("select")]
    assert selects == ["layer", "head"] * 3
    options = [text for _, text in page.all("option")]
    assert options == ["1", "2", "mean", "1", "2", "3"] * 2 + ["1", "1"]


def test_a_long_translation_keeps_its_means_only_and_says_so() -> None:
    tokens = [f"t{index}" for index in range(60)]
    long = example_of(6, 8, tokens, tokens)
    assert long.weights.size > MAX_WEIGHTS
    text = render(report_of(attention=[long]))
    (data,) = [data for data in Page(text).data() if "weights" in data]
    assert [len(layer) for layer in data["weights"]] == [1] * 6
    np.testing.assert_allclose(np.reshape(data["weights"][2][0], (60, 60)) / 1000, long.weights[2].mean(0), atol=5.1e-4)
    assert "only the means over heads are kept" in text


def test_three_translations_of_forty_tokens_through_six_layers_of_eight_heads_stay_under_a_megabyte(
    tmp_path: Path,
) -> None:
    tokens = [f"token{index}" for index in range(40)]
    examples = [example_of(6, 8, tokens, tokens, sharp=4.0)] * 3
    path = write_report(tmp_path / "report.html", report_of(attention=examples, curves=curves_of(3000)))
    assert path.stat().st_size < 1_000_000


def test_what_comes_from_data_is_text_and_never_markup() -> None:
    item = Item(HOSTILE, HOSTILE + "a", HOSTILE, False, '"><script>', "de", remark=HOSTILE)
    text = render(
        report_of(
            title=HOSTILE,
            summary=HOSTILE,
            headline={HOSTILE: HOSTILE},
            facts={HOSTILE: {HOSTILE: HOSTILE}},
            scores=[Table(HOSTILE, (HOSTILE,), [(HOSTILE,)], HOSTILE)],
            items=[item],
            worst=[item],
            items_note=HOSTILE,
            attention=[example_of(1, 2, [HOSTILE, "<script>"], ["</script>", "&lt;"])],
        )
    )
    parsed = Page(text)
    plain = Page(render(report_of()))
    assert len(parsed.all("script")) == len(plain.all("script")) - 2  # one translation's data instead of three's
    assert not any(key.startswith("on") for _, attributes, _ in parsed.elements for key in attributes)
    assert parsed.all("img") == []
    assert HOSTILE in [text for _, text in parsed.all("td")]
    (data,) = [data for data in parsed.data() if "weights" in data]
    assert data["source"] == [HOSTILE.replace(" ", "␣"), "<script>"]
    assert data["target"] == ["</script>", "&lt;"]


def test_characters_that_no_file_can_hold_are_replaced(tmp_path: Path) -> None:
    odd = "a\x00\ud800\u202eb"
    text = write_report(tmp_path / "report.html", report_of(title=odd, worst=[Item(odd, odd, "", False)])).read_text()
    assert "a\ufffd\ufffd\u202eb" in text


def test_right_and_wrong_are_said_in_words_too(page: Page) -> None:
    words = [text for _, text in page.all("span", "unseen") if text in ("right", "wrong")]
    assert words == ["right", "wrong", "wrong"]
    assert [text for _, text in page.all("mark")] == ["drei", "Nacht"]
    assert [text for _, text in page.all("u")] == ["zwei", "Mittag"]


def test_texts_carry_their_language(page: Page) -> None:
    cells = {text: attributes for attributes, text in page.all("td")}
    assert cells["星期四"]["lang"] == "zh"
    assert cells["Thursday"]["lang"] == "en"


def test_empty_parts_leave_their_sections_out() -> None:
    bare = Page(render(Report("t", "s", {}, {}, Curves(), [], [], [], [])))
    assert bare.all("section") == []
    assert bare.all("figure") == []
    assert bare.all("a") == []


def test_samples_show_what_was_given_and_what_the_model_went_on_with() -> None:
    page = Page(render(report_of(samples=[Sample("This <b>", " is\nnew")], samples_note="Drawn by chance.")))
    assert [text for _, text in page.all("p", "sample")] == [" is\nnew"]
    assert [text for _, text in page.all("b")] == ["This <b>"]
    assert "Drawn by chance." in [text for _, text in page.all("p", "lead")]
    assert not Page(render(report_of())).all("p", "sample")


def test_the_score_table_aligns_figures_and_shows_a_dash_for_none(page: Page) -> None:
    cells = page.all("td")
    assert ({"class": "figure"}, "97.50") in cells
    assert ({"class": "figure"}, "–") in cells
    assert ({}, "en → de") in cells


@pytest.mark.parametrize(
    ("value", "shown"),
    [(63_082_496, "63,082,496"), (97.254, "97.25"), (0.0007, "0.0007"), (0.1, "0.10"), (True, "yes"), ("x", "x")],
)
def test_figures_are_written_for_people(value: Any, shown: str) -> None:
    assert format_cell(value) == shown


@given(st.text(alphabet="ab 星期1.", max_size=20), st.text(alphabet="ab 星期1.", max_size=20))
def test_the_pieces_of_a_difference_are_the_text_and_the_common_ones_agree(text: str, other: str) -> None:
    ours, theirs = difference(text, other), difference(other, text)
    assert "".join(piece.text for piece in ours) == text
    assert "".join(piece.text for piece in theirs) == other
    assert all(not piece.differs for piece in difference(text, text))


def test_a_difference_is_marked_by_whole_words_and_single_chinese_characters() -> None:
    assert [tuple(piece) for piece in difference("zwei Uhr", "drei Uhr")] == [("zwei", True), (" Uhr", False)]
    assert [piece.text for piece in difference("上午7点", "早上7点") if piece.differs] == ["午"]
