import numpy as np
import pytest

from regard.errors import ConfigError, InputError
from regard.tasks.summarise import Summariser, Summary


@pytest.fixture
def make_summariser(make_translator):
    """A summariser that answers with its text in capitals."""

    def make(prefix="", **settings):
        made = make_translator(**settings)
        return Summariser(made.engine, made.tokenizer, made.defaults, prefix)

    return make


def test_one_text_gives_a_summary_and_several_a_list_in_their_order(make_summariser):
    summariser = make_summariser()
    assert summariser("ab").text == "AB"
    assert [found.text for found in summariser(["abcdef", "", "a", " \n", "abc"])] == ["ABCDEF", "", "A", "", "ABC"]
    assert summariser([]) == []
    assert summariser("  ") == Summary("")


def test_the_models_own_words_stand_before_each_text(make_summariser):
    summariser = make_summariser("summarize: ")
    assert [found.text for found in summariser(["ab", "", "c"])] == ["SUMMARIZE: AB", "", "SUMMARIZE: C"]


def test_texts_go_through_by_length_and_a_batch_has_at_most_its_tokens(make_summariser):
    summariser = make_summariser()
    summariser(["12345", "1", "123", "12345"], batch_tokens=12)
    assert [batch.shape for batch in summariser.engine.batches] == [(2, 6), (2, 4)]


def test_a_long_text_is_refused_by_its_number_or_cut_and_the_cut_is_counted(make_summariser):
    summariser = make_summariser(max_positions=6)
    with pytest.raises(InputError, match=r"text 12 has 9 tokens, but the model reads at most 6: .*--long cut"):
        summariser(["1", "12345678"], first=10)
    whole, cut = summariser(["12345", "12345678"], long="cut")
    assert (whole.text, whole.cut) == ("12345", 0)
    assert (cut.text, cut.cut) == ("12345", 3)
    read = summariser.engine.batches[-1]
    assert read.shape == (2, 6)
    assert (read[:, -1] == summariser.tokenizer.eos_id).all()


def test_the_words_before_a_text_are_not_cut(make_summariser):
    cut = make_summariser("12", max_positions=6)("345678", long="cut")
    assert (cut.text, cut.cut) == ("12345", 3)


def test_n_best_and_scores_are_those_of_the_search(make_summariser):
    best = make_summariser()("ab", num_beams=3, num_return_sequences=3, return_scores=True)
    assert [best.text, *(other.text for other in best.alternatives)] == ["AB", "AB!", "AB!!"]
    assert best.token_scores == (-0.5, -0.5, -0.5)
    assert best.as_json()["alternatives"][1]["text"] == "AB!!"
    assert {"text", "score", "tokens", "token_scores", "finished", "alternatives", "cut"} == set(best.as_json())


def test_a_summary_cut_at_max_new_tokens_is_unfinished(make_summariser):
    cut, whole = make_summariser()(["123456", "1"], max_new_tokens=3)
    assert (cut.text, cut.finished, whole.finished) == ("123", False, True)


def test_each_text_has_its_own_seed_whatever_its_batch_mates(make_summariser):
    summariser, seeds = make_summariser(), {}

    def spying(batch, options):
        rows = zip(*batch.values(), np.asarray(options.seed).tolist(), strict=True)
        seeds.update({summariser.tokenizer.decode(ids[real == 1].tolist()): seed for ids, real, seed in rows})
        return type(summariser.engine).generate(summariser.engine, batch, options)

    summariser.engine.generate = spying
    for budget in (1, 4096):
        summariser(["12", "", "345", "6"], do_sample=True, seed=7, first=3, batch_tokens=budget)
        assert seeds == {"12": 10, "345": 12, "6": 13}
        seeds.clear()
    summariser(["12", "", "345"], do_sample=True, seed=(5, 6, 7))
    assert seeds == {"12": 5, "345": 7}
    with pytest.raises(ConfigError, match=r"seed must be one int or one an item \(2\), but has 3"):
        summariser(["1", "2"], do_sample=True, seed=(1, 2, 3))


def test_settings_are_checked(make_summariser):
    for settings, message in (
        ({"long": "split"}, "long must be 'refuse' or 'cut', but is 'split'"),
        ({"batch_tokens": 0}, "batch_tokens must be at least 1"),
        ({"num_beam": 2}, "unknown option num_beam: did you mean num_beams"),
    ):
        with pytest.raises((ConfigError, InputError), match=message):
            make_summariser()(["x"], **settings)
