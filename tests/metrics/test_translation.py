import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from regard.errors import InputError
from regard.metrics.translation import bleu_tokenizer, exact_match, score, sentence_chrf

REFERENCES = ["The cat sat on the mat.", "There is a dog in the garden, isn't there?", "Nobody knows the answer."]
HYPOTHESES = ["The cat sat on a mat.", "There is a dog in the yard, is there not?", "Nobody knows."]

sentences = st.lists(st.text(alphabet="abc déü你好 .", min_size=1, max_size=12), min_size=1, max_size=6)


@given(sentences)
def test_chrf_and_exact_match_are_full_for_equal_texts_and_scores_stay_in_bounds(lines):
    assert exact_match(lines, lines) == 100
    result = score(lines, list(reversed(lines)))
    assert 0 <= result.bleu <= 100 + 1e-6
    assert 0 <= result.chrf <= 100 + 1e-6


def test_the_scores_are_those_of_sacrebleu_and_carry_its_signatures():
    ours = score(HYPOTHESES, REFERENCES)
    assert ours.bleu == sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    assert ours.chrf == sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    assert f"tok:13a|smooth:exp|version:{sacrebleu.__version__}" in ours.bleu_signature
    assert "nc:6|nw:0" in ours.chrf_signature
    assert ours.bleu_interval is None
    assert ours.chrf_interval is None


def test_chinese_is_scored_with_the_zh_tokenizer_however_the_tag_is_written():
    hypothesis, reference = ["今天天气很好我们去公园"], ["今天天气很好我们去学校"]
    assert score(hypothesis, reference, "de").bleu == 0
    for tag in ("zh", "zh-CN", "zh_CN", "ZH"):
        result = score(hypothesis, reference, tag)
        assert result.bleu > 50
        assert "tok:zh" in result.bleu_signature
    assert bleu_tokenizer("ja") == "char"
    assert bleu_tokenizer(None) == "13a"


def test_the_bootstrap_interval_surrounds_the_score_narrows_with_more_sentences_and_repeats_with_its_seed():
    few = score(HYPOTHESES * 3, REFERENCES * 3, resamples=200)
    many = score(HYPOTHESES * 30, REFERENCES * 30, resamples=200)
    for result in (few, many):
        assert result.bleu_interval[0] <= result.bleu <= result.bleu_interval[1]
        assert result.chrf_interval[0] <= result.chrf <= result.chrf_interval[1]
    width_of_few = few.chrf_interval[1] - few.chrf_interval[0]
    width_of_many = many.chrf_interval[1] - many.chrf_interval[0]
    assert width_of_many < width_of_few / 2
    assert few == score(HYPOTHESES * 3, REFERENCES * 3, resamples=200)
    assert few != score(HYPOTHESES * 3, REFERENCES * 3, resamples=200, seed=1)


def test_the_interval_is_as_wide_as_sacrebleus_own_bootstrap_finds_it():
    ours = score(HYPOTHESES * 20, REFERENCES * 20, resamples=1000)
    for metric, interval in ((BLEU(), ours.bleu_interval), (CHRF(), ours.chrf_interval)):
        theirs = metric.corpus_score(HYPOTHESES * 20, [REFERENCES * 20], n_bootstrap=1000)
        assert (interval[1] - interval[0]) / 2 == pytest.approx(theirs._ci, rel=0.1)


def test_exact_match_is_a_percentage_and_ignores_white_space_at_the_ends_only():
    assert exact_match(["a", "b ", "c  d", "e"], ["a", "b", "c d", "E"]) == 50


def test_sentence_chrf_orders_better_before_worse():
    assert sentence_chrf("two cats", "two cats") == 100
    assert sentence_chrf("two cats", "two dogs") > sentence_chrf("one dog", "two cats")


@pytest.mark.parametrize("measure", [score, exact_match])
def test_nothing_to_score_and_unequal_counts_are_refused(measure):
    with pytest.raises(InputError, match="nothing to score"):
        measure([], [])
    with pytest.raises(InputError, match=r"as many hypotheses as references \(2\), but there are 1"):
        measure(["a"], ["a", "b"])
