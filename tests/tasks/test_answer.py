import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import ConfigError, InputError
from regard.tasks.answer import Answerer, best_spans

QUESTION = "who wrote the first program ?"


@pytest.fixture
def answerer(reader, words):
    """An answer begins at `ada` or 😀 or `cafe`, and ends at `lovelace` or these; [CLS] has `null` as its logit."""

    def make(null=0.0, **config):
        begins = {words.token_id(name) for name in ("ada", "😀", "cafe", "天")}
        ends = {words.token_id(name) for name in ("lovelace", "😀", "cafe", "气")}

        def rule(ids):
            own = [null] + [0.0] * (len(ids) - 1)
            starts = [4.0 if token in begins else other for token, other in zip(ids, own, strict=True)]
            stops = [4.0 if token in ends else other for token, other in zip(ids, own, strict=True)]
            return {"start_logits": starts, "end_logits": stops}

        return Answerer(reader(rule, "BertForQuestionAnswering", **config), words)

    return make


def test_the_answer_is_the_stretch_between_the_best_start_and_end_and_scored_within_context_and_class_token(answerer):
    context = "In London Ada Lovelace wrote."
    answer = answerer()(QUESTION, context)
    assert (answer.text, context[answer.start : answer.end]) == ("Ada Lovelace", "Ada Lovelace")
    chance = np.exp(4) / (np.exp(4) + 6)  # five other tokens, and the class token
    assert answer.score == pytest.approx(chance**2)
    assert answer.null_score == pytest.approx((chance / np.exp(4)) ** 2)
    assert answer.null_difference == pytest.approx(0 - 8)
    assert answer.as_json()["text"] == "Ada Lovelace"


def test_a_question_is_never_the_answer(answerer):
    answer = answerer()("who wrote ada lovelace ?", "x y b")
    assert answer.text in ("x", "y", "b")


@pytest.mark.parametrize("place", range(0, 60, 7))
@pytest.mark.parametrize("stride", [None, 2, 5])
def test_an_answer_is_found_wherever_it_stands_in_a_long_context(answerer, place, stride):
    names = ["a", "b", "c"] * 20
    names.insert(place, "Ada Lovelace")
    context = " ".join(names)
    answer = answerer(positions=24)(QUESTION, context, stride=stride)
    assert answer.windows > 1
    assert (answer.text, answer.start) == ("Ada Lovelace", context.index("Ada"))


@pytest.mark.parametrize(
    ("context", "text"), [("x 😀 y", "😀"), ("好 天气 x", "天气"), ("a cafe\u0301 b", "cafe\u0301")]
)
def test_spans_are_exact_in_emoji_chinese_and_combined_letters(answerer, context, text):
    answer = answerer()(QUESTION, context)
    assert (answer.text, context[answer.start : answer.end]) == (text, text)


def test_without_an_answer_the_class_token_wins_if_a_threshold_asks_for_it(answerer):
    settings = {"no_answer_threshold": 0.0}
    assert answerer(null=5.0)(QUESTION, "ada lovelace x", **settings).text == ""
    none = answerer(null=5.0)(QUESTION, "ada lovelace x", top_k=2, **settings)
    assert (none.start, none.end, none.score) == (None, None, none.null_score)
    assert none.null_difference == pytest.approx(10 - 8)
    assert none.alternatives[0].text == "ada lovelace"
    assert answerer(null=3.0)(QUESTION, "ada lovelace x", **settings).text == "ada lovelace"
    assert answerer(null=5.0)(QUESTION, "ada lovelace x").text == "ada lovelace"
    assert answerer(null=5.0)(QUESTION, "ada lovelace x", no_answer_threshold=2.5).text == "ada lovelace"


def test_a_model_answers_as_its_run_chose_where_nobody_asks_otherwise(answerer):
    careful = answerer(null=5.0)
    careful.no_answer_threshold = 1.5
    assert careful(QUESTION, "ada lovelace x").text == ""
    for asked in (2.5, math.inf):
        assert careful(QUESTION, "ada lovelace x", no_answer_threshold=asked).text == "ada lovelace"


def test_the_context_that_holds_an_answer_decides_against_windows_that_hold_none(answerer):
    context = " ".join(["a"] * 40 + ["ada", "lovelace"] + ["b"] * 40)
    answer = answerer(null=3.0, positions=24)(QUESTION, context, no_answer_threshold=0.0)
    assert answer.text == "ada lovelace"
    assert answer.null_difference == pytest.approx(6 - 8)


def test_n_best_answers_differ_and_come_by_their_scores(answerer):
    context = "ada a lovelace b ada lovelace"
    answer = answerer(positions=16)(QUESTION, context, top_k=4, stride=1)
    spans = [(answer.start, answer.end), *((span.start, span.end) for span in answer.alternatives)]
    scores = [answer.score, *(span.score for span in answer.alternatives)]
    assert len(set(spans)) == len(spans) == 4
    assert scores == sorted(scores, reverse=True)
    assert all(context[span.start : span.end] == span.text for span in answer.alternatives)


def test_an_answer_has_at_most_so_many_tokens(answerer):
    context = "ada a b c lovelace x"
    assert answerer()(QUESTION, context).text == "ada a b c lovelace"
    assert answerer()(QUESTION, context, max_answer_length=4).text == "ada"  # of equal spans the first
    with pytest.raises(ConfigError, match="max_answer_length must be at least 1, but is 0"):
        answerer()(QUESTION, context, max_answer_length=0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=9), st.integers(1, 6), st.integers(1, 12))
def test_the_best_spans_are_those_of_an_exhaustive_search(scores, count, max_length):
    starts, ends = np.array(scores, float).reshape(-1, 2).T
    spans = best_spans(starts, ends, count, max_length)
    places = range(len(starts))
    every = [(s, e) for s in places for e in places if s <= e < s + max_length]
    expected = sorted((starts[s] * ends[e] for s, e in every), reverse=True)[:count]
    assert [starts[s] * ends[e] for s, e in spans] == expected
    assert len(set(spans)) == len(spans)
    assert set(spans) <= set(every)


def test_batches_keep_the_order_and_one_context_may_be_for_all(answerer):
    own = answerer(positions=24)
    contexts = ["ada lovelace", "b " * 40 + "😀", "x 天气"]
    answers = own([QUESTION] * 3, contexts, batch_tokens=30)
    assert [answer.text for answer in answers] == ["ada lovelace", "😀", "天气"]
    assert [answer.text for answer in own(["who ?", "in ?"], "x 😀")] == ["😀", "😀"]
    with pytest.raises(InputError, match="a context for each of the 2 questions, not 1"):
        own(["who ?", "in ?"], ["x"])


def test_what_leaves_no_room_or_is_empty_is_refused(answerer):
    with pytest.raises(InputError, match="max_length is 10, of which 9 tokens are no part of the long text"):
        answerer(positions=10)(QUESTION, "a b c x y", stride=1)
    with pytest.raises(InputError, match="the question is empty"):
        answerer()(" ", "a")
    with pytest.raises(InputError, match="the context is empty"):
        answerer()("who ?", "\n")
