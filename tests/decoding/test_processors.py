"""The rules together, as options ask for them."""

import math

import numpy as np
import pytest

from regard.decoding import numpy_ops as ops
from regard.decoding.histories import aligned
from regard.decoding.options import GenerationOptions
from regard.decoding.processors import Processors, margin
from regard.decoding.rows import Rows
from regard.errors import ConfigError

V = 7


def scores_of(seed, banned=0):
    random = np.random.default_rng(seed)
    scores = (random.standard_normal(V) * 2).astype("float32")
    scores[random.permutation(V)[:banned]] = -math.inf
    return scores


def banned_by(scores):
    return {token for token in range(V) if scores[0, 0, token] == -math.inf}


def probabilities(scores):
    exponentials = np.exp(scores.astype("float64") - scores.max())
    return exponentials / exponentials.sum()


def kept(scores):
    return set(np.flatnonzero(scores[0, 0] > -math.inf).tolist())


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_temperature_only_divides_what_beams_add_up(temperature):
    scores = scores_of(0, 1)[None, None]
    options = GenerationOptions(do_sample=True, num_beams=2, top_k=0, temperature=temperature)
    np.testing.assert_allclose(process(options, scores=scores), scores / temperature, rtol=1e-6)


def test_renormalised_log_probabilities_of_beams_sum_to_1_after_all_other_rules():
    scores = scores_of(0)[None, None]
    options = GenerationOptions(num_beams=2, bad_words_ids=[[2], [5]], renormalize_logits=True)
    found = process(options, scores=scores)
    left = np.where(np.isin(np.arange(V), [2, 5]), -math.inf, scores[0, 0])
    np.testing.assert_allclose(np.exp(found[0, 0]), probabilities(left), rtol=1e-5)
    forced = options.merged(forced_bos_token_id=4)
    assert kept(process(forced, scores=scores)) == {4}
    assert process(forced, scores=scores)[0, 0, 4] == 0


@pytest.mark.parametrize("values", [{}, {"do_sample": True, "temperature": 0.5, "top_p": 0.9, "min_p": 0.1}])
def test_a_row_whose_tokens_are_all_banned_stays_so_without_nan(values):
    for beams in (1, 2):
        options = GenerationOptions(num_beams=beams, renormalize_logits=True, bad_words_ids=[[t] for t in range(V)])
        found = process(options.merged(**values), scores=scores_of(0)[None, None])
        np.testing.assert_array_equal(found, np.full((1, 1, V), -math.inf))


def process(options, sequences=(), prompt=((1,),), mask=None, scores=None, source=None, rule=None):
    prompt, mask = np.array(prompt, "int32"), None if mask is None else np.array(mask)
    known = Rows(aligned(prompt, mask, margin(options), ops))
    if source is not None:
        known = known._replace(source=aligned(np.array([source]), None, margin(options), ops))
    length, step = options.max_new_tokens, len(sequences)
    rows = np.array([[[*sequences, *[-1] * (length - step)]]] * len(prompt), "int32")
    scores = np.zeros((len(prompt), 1, V), "float32") if scores is None else scores
    return Processors(options, known, ops, rule)(scores, rows, np.int32(step))


def test_eos_waits_for_min_new_tokens():
    options = GenerationOptions(min_new_tokens=2, max_new_tokens=4, eos_token_id=(0, 3))
    assert [banned_by(process(options, [5] * step)) for step in range(4)] == [{0, 3}, {0, 3}, set(), set()]


def test_first_and_last_token_can_be_forced():
    options = GenerationOptions(max_new_tokens=3, forced_bos_token_id=4, forced_eos_token_id=(0, 2))
    assert [kept(process(options, [5] * step)) for step in range(3)] == [{4}, set(range(V)), {0, 2}]


def test_eos_is_never_a_bad_word():
    options = GenerationOptions(eos_token_id=0, bad_words_ids=[[0], [2], [3, 0]])
    assert banned_by(process(options, [5])) == {2}
    assert banned_by(process(options, [3])) == {0, 2}


def test_rules_on_sequences_count_the_prompt_whichever_side_is_padded():
    options = GenerationOptions(no_repeat_ngram_size=2, bad_words_ids=[[2, 5, 6]], repetition_penalty=2.0)
    prompts = [[1, 2, 5, 4, 2], [1, 2, 5, 4, 2], [9, 9, 2, 3, 2]]
    padded_prompts = [[1, 2, 5, 4, 2, 3, 3, 3], [3, 3, 3, 1, 2, 5, 4, 2], [3, 3, 3, 9, 9, 2, 3, 2]]
    masks = [[1] * 5 + [0] * 3, [0] * 3 + [1] * 5, [0] * 3 + [1] * 5]
    scores = np.full((3, 1, V), 1.0, "float32")
    found = process(options, [5], padded_prompts, masks, scores)
    np.testing.assert_array_equal(found, process(options, [5], prompts, None, scores))
    np.testing.assert_array_equal(found[0, 0], [1, 0.5, 0.5, 1, -math.inf, 0.5, -math.inf])  # 5 4 and 2 5 6 are banned
    np.testing.assert_array_equal(found[2, 0], [1, 1, 0.5, 0.5, 1, 0.5, -math.inf])


def test_without_a_prompt_the_start_id_counts(scripted):
    model = scripted((1,), V, 0)
    options = GenerationOptions(no_repeat_ngram_size=1, max_new_tokens=V - 1)
    assert sorted(model.search(options).sequences[0, 0].tolist()) == [0, 2, 3, 4, 5, 6]  # all but the start id, 1


def test_rules_apply_beam_by_beam(scripted, found_in):
    model = scripted((1, 2), V, 0)
    options = GenerationOptions(num_beams=3, num_return_sequences=3, no_repeat_ngram_size=2, max_new_tokens=12)
    found = model.search(options)
    for row in (0, 1):
        for sequence in found_in(found, row):
            pairs = list(zip((1, *sequence), sequence, strict=False))
            assert len(set(pairs)) == len(pairs)


def test_sampling_processors_stay_away_from_greedy_search():
    scores = scores_of(0)[None, None]
    np.testing.assert_array_equal(process(GenerationOptions(top_k=1), scores=scores), scores)


def test_a_sampled_beam_keeps_a_way_on_besides_the_end():
    options = GenerationOptions(do_sample=True, num_beams=2, top_k=1, top_p=0.01, min_p=1.0, eos_token_id=(0, 3))
    assert len(kept(process(options, scores=scores_of(0)[None, None]))) == 3


def test_a_repetition_penalty_of_the_encoder_favours_the_tokens_of_the_source():
    scores = np.array([[[1.0, -1.0, 2.0, -2.0, 3.0, 0.5, -0.5]]], "float32")
    found = process(GenerationOptions(encoder_repetition_penalty=2.0), scores=scores, source=[3, 0, 0])
    np.testing.assert_allclose(found[0, 0], [2.0, -1.0, 2.0, -1.0, 3.0, 0.5, -0.5])


def test_ngrams_of_the_source_are_banned_whatever_was_written():
    options = GenerationOptions(encoder_no_repeat_ngram_size=2)
    assert banned_by(process(options, [5], source=[1, 2, 5, 4, 5, 6])) == {4, 6}
    assert banned_by(process(options, [], source=[1, 2, 5, 4])) == {2}  # the start id counts


@pytest.mark.parametrize("rule", [{"encoder_repetition_penalty": 2.0}, {"encoder_no_repeat_ngram_size": 2}])
def test_a_rule_on_the_source_without_a_source_is_refused(rule):
    with pytest.raises(ConfigError, match=r"need the ids of the source, but there are none: leave them at 1 and 0"):
        process(GenerationOptions(**rule))


def test_frequency_counts_what_was_generated_and_not_the_prompt():
    options = GenerationOptions(frequency_penalty=0.5, presence_penalty=0.25)
    found = process(options, [5, 6, 5], prompt=((1, 2, 5),))
    np.testing.assert_allclose(found[0, 0], [0, 0, 0, 0, 0, -1.25, -0.75])


def test_a_decay_raises_the_score_of_eos_from_its_start_on():
    options = GenerationOptions(max_new_tokens=5, eos_token_id=(0, 3), exponential_decay_length_penalty=(1, 1.5))
    scores = np.array([[[2.0, 1.0, 1.0, -2.0, 1.0, 1.0, 1.0]]], "float32")
    found = [process(options, [5] * step, scores=scores)[0, 0] for step in range(4)]
    assert [row[0].tolist() for row in found] == [2.0, 2.0, 3.0, 4.5]
    assert [row[3].tolist() for row in found] == [-2.0, -2.0, -1.0, 0.5]
    assert all(row[4] == 1.0 for row in found)


def test_a_decay_brings_no_banned_eos_back():
    options = GenerationOptions(eos_token_id=0, min_new_tokens=4, exponential_decay_length_penalty=(0, 2.0))
    assert banned_by(process(options, [5, 5])) == {0}


def test_suppressed_tokens_never_come_and_some_only_not_at_the_beginning():
    options = GenerationOptions(max_new_tokens=3, suppress_tokens=(2, 4), begin_suppress_tokens=(6,))
    assert [banned_by(process(options, [5] * step)) for step in range(3)] == [{2, 4, 6}, {2, 4}, {2, 4}]


def test_the_beginning_comes_after_a_forced_first_token():
    options = GenerationOptions(max_new_tokens=3, begin_suppress_tokens=(6,), forced_bos_token_id=6)
    assert [banned_by(process(options, [6] * step)) for step in range(3)] == [set(range(6)), {6}, set()]


def test_a_prompt_beyond_the_start_token_takes_the_place_of_a_forced_first_token():
    options = GenerationOptions(max_new_tokens=3, begin_suppress_tokens=(5,), forced_bos_token_id=6)
    found = process(options, [], prompt=((1, 2), (3, 1)), mask=((1, 1), (0, 1)), scores=np.zeros((2, 1, V), "float32"))
    assert kept(found[:1]) == {0, 1, 2, 3, 4, 6}
    assert kept(found[1:]) == {6}


def test_invalid_scores_become_numbers_only_if_asked():
    scores = np.array([[[math.nan, math.inf, -math.inf, 1.0, 2.0, 3.0, 4.0]]], "float32")
    largest = np.finfo("float32").max
    found = process(GenerationOptions(remove_invalid_values=True, suppress_tokens=(6,)), scores=scores)
    np.testing.assert_array_equal(found[0, 0], [0.0, largest, -largest, 1.0, 2.0, 3.0, -math.inf])
    np.testing.assert_array_equal(process(GenerationOptions(), scores=scores), scores)


def test_a_rule_of_ones_own_sees_what_was_generated_before_sampling_narrows_it_down():
    def no_second_time(scores, generated, step, ops):
        last = generated[:, :, max(int(step) - 1, 0)]
        return np.where(np.arange(V) == last[..., None], -math.inf, scores)

    options = GenerationOptions(do_sample=True, top_k=1)
    scores = np.arange(V, dtype="float32")[None, None]
    assert kept(process(options, [3, 6], scores=scores, rule=no_second_time)) == {5}
    assert kept(process(options, [6, 3], scores=scores, rule=no_second_time)) == {6}


def test_a_rule_that_is_off_leaves_the_scores_alone_themselves():
    scores = scores_of(0)[None, None]
    assert process(GenerationOptions(), scores=scores) is scores
