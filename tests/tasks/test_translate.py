import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.decoding.options import GenerationOptions
from regard.errors import ConfigError, InputError
from regard.tasks.translate import Translation

texts = st.text(st.characters(), max_size=12) | st.sampled_from(["", " ", "\0", "\ud800", "😀", "שלום", "今天", "</s>"])


@given(lines=st.lists(texts, max_size=20), window=st.integers(1, 7), budget=st.integers(1, 200))
@settings(deadline=None)
def test_any_text_comes_back_at_its_own_place_whatever_the_window_and_the_batches(
    make_translator, lines, window, budget
):
    translator = make_translator()
    read = [translator.tokenizer.decode(translator.tokenizer.encode(line)) for line in lines]
    expected = [translator.engine.answer(text) if line.strip() else "" for line, text in zip(lines, read, strict=True)]
    whole = [translator.tokenizer.normalise(text) for text in expected]
    translated = list(translator.stream(lines, window=window, batch_tokens=budget))
    assert [translation.text for translation in translated] == whole
    assert all(translation.finished for translation in translated if translation.text)


def test_a_string_gives_a_translation_and_a_sequence_gives_a_list(translator):
    assert translator("a fox").text == "A FOX"
    assert isinstance(translator("a fox"), Translation)
    assert [translation.text for translation in translator(("one", "two"))] == ["ONE", "TWO"]
    assert translator([]) == []


def test_batches_keep_to_the_token_budget_and_hold_texts_of_like_length(translator):
    translator(["a" * n for n in (9, 1, 2, 8, 3, 7)], batch_tokens=24)
    sizes = [batch.size for batch in translator.engine.batches]
    assert max(sizes) <= 24
    assert len(sizes) < 6


def test_a_text_longer_than_the_budget_gets_a_batch_of_its_own(translator):
    assert [entry.text for entry in translator(["abcdefgh xyz", "b"], batch_tokens=1)] == ["ABCDEFGH XYZ", "B"]


def test_blank_texts_give_empty_translations_and_never_reach_the_engine(translator):
    assert [entry.text for entry in translator(["", "  \t", "\u3000"])] == ["", "", ""]
    assert translator("").tokens == ()
    assert translator.engine.batches == []


def test_the_stream_reads_no_more_than_its_window_ahead(translator):
    read = []

    def lines():
        for number in range(10):
            read.append(number)
            yield f"line {number}"

    stream = translator.stream(lines(), window=3)
    assert read == []
    assert next(stream).text == "LINE 0"
    assert read == [0, 1, 2]
    for _ in range(3):
        last = next(stream)
    assert last.text == "LINE 3"
    assert read == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("window", [1, 2, 4, 5, 6])
def test_a_text_that_is_too_long_is_refused_by_its_line_after_all_before_it_were_translated(make_translator, window):
    translator = make_translator(max_positions=8)
    done = []
    with pytest.raises(InputError, match=r"^line 5 has 21 tokens, but the model reads at most 8: .*--long split"):
        done.extend(entry.text for entry in translator.stream(["1", "2", "", "4", "5" * 20, "6"], window=window))
    assert done == ["1", "2", "", "4"]
    with pytest.raises(InputError, match=r"^line 75 has 21 tokens"):
        translator(["1", "2", "", "4", "5" * 20, "6"], first=70)


def test_the_bound_counts_the_end_token_and_the_language_tag(make_translator):
    plain, tagged = make_translator(max_positions=8), make_translator(max_positions=8, tags=(">>de<<",))
    assert plain("1234567").text == "1234567"
    assert tagged("123456").text == "123456"
    with pytest.raises(InputError, match="line 1 has 9 tokens"):
        tagged("1234567")


def test_split_translates_sentence_by_sentence_and_joins_them(make_translator):
    translator = make_translator(max_positions=12)
    short, long = translator(["1. 2.", "1234. 56!  78? 90."], long="split", return_scores=True)
    assert (short.text, short.sentences) == ("1. 2.", 1)
    assert (long.text, long.sentences) == ("1234. 56! 78? 90.", 4)
    assert long.score == pytest.approx(sum(long.token_scores))
    assert len(long.tokens) == len(long.token_scores) == 14 + 4
    assert all(batch.shape[1] <= 12 for batch in translator.engine.batches)


def test_split_refuses_a_sentence_that_is_itself_too_long(make_translator):
    with pytest.raises(InputError, match="line 2 has a sentence of 21 tokens, but the model reads at most 12"):
        make_translator(max_positions=12)(["ok", "1. " + "2" * 20], long="split")


def test_split_gives_alternatives_rank_by_rank(make_translator):
    both = make_translator(max_positions=5)("12. 34.", long="split", num_beams=2, num_return_sequences=2)
    assert both.text == "12. 34."
    assert [entry.text for entry in both.alternatives] == ["12.! 34.!"]
    assert both.score > both.alternatives[0].score


def test_n_best_gives_the_other_hypotheses_best_first_with_scores(translator):
    best = translator("ab", num_beams=3, num_return_sequences=3)
    assert [best.text, *(entry.text for entry in best.alternatives)] == ["AB", "AB!", "AB!!"]
    scores = [best.score, *(entry.score for entry in best.alternatives)]
    assert scores == sorted(scores, reverse=True)
    assert best.token_scores is None


def test_hypotheses_that_a_wide_beam_did_not_find_are_no_alternatives(translator):
    generate = translator.engine.generate

    def finds_one(batch, options):
        found = generate(batch, options)
        lengths, scores = found.lengths.copy(), found.scores.copy()
        lengths[:, 1:], scores[:, 1:] = 0, -np.inf
        return found._replace(lengths=lengths, scores=scores)

    translator.engine.generate = finds_one
    assert translator("ab", num_beams=3, num_return_sequences=3).alternatives == ()


def test_tokens_and_their_scores_belong_together_and_scores_are_none_where_the_search_has_none(translator):
    scored = translator("ab c", return_scores=True)
    assert scored.tokens[-1] == "</s>"
    assert scored.token_scores == (-0.5,) * len(scored.tokens)
    assert scored.score == sum(scored.token_scores)
    plain = translator("ab c")
    assert plain.tokens == scored.tokens
    assert plain.score is None
    assert plain.token_scores is None
    assert translator.tokenizer.decode(plain.token_ids) == "AB C"


def test_source_ids_are_what_the_engine_reads(many_languages):
    many_languages("fox", target_lang="zh")
    assert many_languages.source_ids("fox", "zh") == many_languages.engine.batches[-1][0].tolist()


def test_a_translation_cut_at_max_new_tokens_is_marked_as_unfinished(translator):
    cut, whole = translator(["1234567", "12"], max_new_tokens=4)
    assert (cut.text, cut.finished) == ("1234", False)
    assert whole.finished


def test_an_end_that_was_forced_at_the_last_step_counts_as_unfinished(translator):
    translator.defaults = translator.defaults.merged(forced_eos_token_id=translator.tokenizer.eos_id, max_new_tokens=4)
    exact, shorter = translator(["123", "12"])
    assert not exact.finished
    assert shorter.finished


def test_the_target_language_is_required_among_several_and_leads_the_source_as_one_token(many_languages):
    assert many_languages.languages == ("de", "en", "zh")
    with pytest.raises(InputError, match="give target_lang, one of de, en, zh"):
        many_languages("x")
    with pytest.raises(InputError, match="target_lang must be one of de, en, zh, but is 'fr'"):
        many_languages("x", target_lang="fr")
    translated = many_languages("fox", target_lang="zh")
    assert translated.target_lang == "zh"
    assert many_languages.engine.batches[-1][0, 0] == many_languages.tokenizer.tag_id(">>zh<<")


def test_a_tag_inside_a_text_is_text(many_languages):
    assert many_languages(">>de<< fox", target_lang="zh").text == ">>DE<< FOX"


def test_one_known_language_needs_not_be_named_and_none_takes_no_name(make_translator, translator):
    only = make_translator(tags=(">>de<<",))
    assert only("x").target_lang == "de"
    assert only.engine.batches[-1][0, 0] == only.tokenizer.tag_id(">>de<<")
    assert translator("x").target_lang is None
    with pytest.raises(InputError, match="takes no target_lang, but got 'de'"):
        translator("x", target_lang="de")


def test_settings_are_checked_before_the_first_text_is_read(translator):
    for settings_, message in (
        ({"num_beam": 2}, "unknown option num_beam: did you mean num_beams"),
        ({"num_return_sequences": 5}, "num_beams must be at least num_return_sequences"),
        ({"long": "cut"}, "long must be 'refuse' or 'split', but is 'cut'"),
        ({"window": 0}, "window must be at least 1"),
        ({"batch_tokens": 0}, "batch_tokens must be at least 1"),
    ):
        with pytest.raises((ConfigError, InputError), match=message):
            translator.stream(iter(()), **settings_)


def seeds_by_source(translator, texts, **settings_):
    """The seed that each source was given: a dict from ids to seeds, in the order of the batches."""
    seeds = {}

    def spying(batch, options):
        for ids, real, words in zip(*batch.values(), options.row_seeds(len(batch["input_ids"])).tolist(), strict=True):
            seeds.setdefault(tuple(ids[real == 1].tolist()), []).append(words[0] + words[1] * 2**32)
        return type(translator.engine).generate(translator.engine, batch, options)

    translator.engine.generate = spying
    try:
        list(translator.stream(texts, do_sample=True, **settings_))
    finally:
        del translator.engine.generate
    return {translator.tokenizer.decode(list(ids)): found for ids, found in seeds.items()}


@pytest.mark.parametrize(("window", "budget"), [(1, 4096), (2, 4096), (5, 4096), (5, 1), (5, 12)])
def test_a_text_has_its_own_seed_whatever_its_batch_mates(translator, window, budget):
    texts = ["abcd", "", "a", "abcdefg", "abc"]
    cut = {"window": window, "batch_tokens": budget}
    counted = seeds_by_source(translator, iter(texts), seed=7, **cut)
    assert counted == {"abcd": [7], "a": [9], "abcdefg": [10], "abc": [11]}
    assert seeds_by_source(translator, iter(texts[2:]), seed=7, first=2, **cut) == {
        "a": [9],
        "abcdefg": [10],
        "abc": [11],
    }
    given = seeds_by_source(translator, iter(texts), seed=(5, 0, 2**64 - 1, 5, 1), **cut)
    assert given == {"abcd": [5], "a": [2**64 - 1], "abcdefg": [5], "abc": [1]}


def test_pieces_of_a_text_have_seeds_of_their_own_and_the_first_has_the_texts(make_translator):
    translator = make_translator(max_positions=8)
    seeds = seeds_by_source(translator, ["x", "12. 34. 12.", "y"], seed=2**64 - 2, long="split")
    assert (seeds["x"], seeds["y"]) == ([2**64 - 2], [0])
    (first, third), (second,) = sorted(seeds["12."], reverse=True), seeds["34."]
    assert first == 2**64 - 1
    assert len({first, second, third, *range(100), *range(2**64 - 100, 2**64 - 1)}) == 202
    alone = seeds_by_source(translator, ["12. 34. 12."], seed=2**64 - 1, long="split")
    assert alone == {"12.": seeds["12."], "34.": seeds["34."]}


def test_seeds_that_are_not_one_a_text_are_refused(translator):
    with pytest.raises(ConfigError, match=r"seed must be one int or one a text \(2\), but has 3"):
        translator(["a", "b"], do_sample=True, seed=(1, 2, 3))
    with pytest.raises(ConfigError, match=r"seed must be one int or one a text \(1\), but has 2"):
        translator("a", do_sample=True, seed=(1, 2))
    assert translator.engine.batches == []
    for count in (1, 4):
        stream = translator.stream(iter(["a"] * count), do_sample=True, seed=(1, 2, 3), window=2)
        with pytest.raises(ConfigError, match=rf"one a text \({count}\), but has 3"):
            list(stream)


def test_the_checkpoints_options_hold_until_a_call_overrides_them(translator):
    seen = []
    generate = translator.engine.generate
    translator.engine.generate = lambda batch, options: seen.append(options) or generate(batch, options)
    translator.defaults = GenerationOptions(num_beams=4, length_penalty=0.6, max_new_tokens=9, eos_token_id=0)
    translator("x")
    translator("x", num_beams=2)
    assert [(o.num_beams, o.length_penalty, o.max_new_tokens) for o in seen] == [(4, 0.6, 9), (2, 0.6, 9)]
