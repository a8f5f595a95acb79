"""Prompts through a real search over a scripted model, and through a tiny one: lengths, stops, seeds, pieces."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regard.cli import main
from regard.errors import CheckpointError, ConfigError, InputError
from regard.features.asking import chat_template
from regard.features.tokenizer import Tokenizer
from regard.interop.checkpoints import save_model
from regard.models.family import Config
from regard.models.forms import build_model
from regard.models.llama import from_config
from regard.tasks.embed import Embedder
from regard.tasks.generate import GeneratedText, TextGenerator
from regard.tasks.loading import load
from regard.tasks.stopping import StopCutter, kept_stop_strings

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "features" / "tokenizers")]

import tiny_tokenizers as vocabularies
from writing import Script, defaults, llama_config, tokenizer_of


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of()


@pytest.fixture
def make(tokenizer):
    def generator(answers, stop=(), options=(), **settings):
        return TextGenerator(
            Script(tokenizer, answers, **settings), tokenizer, defaults(tokenizer, **dict(options)), stop
        )

    return generator


def test_a_prompt_gives_a_text_and_several_give_a_list_in_their_order(make):
    generator = make({"fox": " jumps", "much longer dog": " sleeps"})
    one = generator("the fox")
    assert isinstance(one, GeneratedText)
    assert (one.text, one.ended_by, one.finished) == (" jumps", "eos", True)
    both = generator(["a much longer dog", "the fox"])
    assert [entry.text for entry in both] == [" sleeps", " jumps"]
    assert generator([]) == []


def test_a_prompt_goes_in_without_the_end_that_the_tokenizer_puts_after_a_text(make, tokenizer):
    generator = make({"fox": "!"})
    assert tokenizer.encode("the fox")[-1] == tokenizer.eos_id
    result = generator("the fox")
    assert generator.engine.calls[-1][0]["input_ids"].tolist() == [tokenizer.encode_plain("the fox")]
    assert result.prompt_tokens == len(tokenizer.encode_plain("the fox"))


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_a_text_of_its_own_which_begins_with_no_blank(tmp_path, streamed):
    """SentencePiece puts a blank before a text, which a continuation has and an answer, learned as a text, has not."""
    pieces = Tokenizer.load(vocabularies.write("llama", tmp_path))
    pieces = pieces.with_chat_template(chat_template("{source} =>", begins=False))
    generator = TextGenerator(Script(pieces, {"=>": "hello"}), pieces, defaults(pieces), asked=True)
    result = generator("hi")
    if streamed:
        stream = generator.stream("hi")
        assert "".join(stream) == "hello"
        result = stream.result
    assert result.text == "hello"
    assert generator.engine.calls[-1][0]["input_ids"].tolist() == [pieces.encode_plain("hi =>")]


def test_an_encoder_decoder_reads_the_end_and_its_text_is_no_continuation(make, tokenizer):
    generator = make({"fox": "ein Hund"}, writes="tiny")
    assert generator("the fox").text == "ein Hund"
    assert generator.engine.calls[-1][0]["input_ids"][0, -1] == tokenizer.eos_id


def test_special_tokens_of_a_prompt_are_text_unless_somebody_says_otherwise(make, tokenizer):
    generator = make({})
    generator("a</s>b")
    assert tokenizer.eos_id not in generator.engine.calls[-1][0]["input_ids"]
    generator("a</s>b", parse_special=True)
    assert generator.engine.calls[-1][0]["input_ids"].tolist()[0].count(tokenizer.eos_id) == 1


def test_an_empty_prompt_is_the_token_that_begins_texts_or_an_error(make):
    with pytest.raises(InputError, match="prompt 2 is empty, and the model has no token that begins a text"):
        make({})(["a", ""])
    beginning = tokenizer_of(bos_token="</s>")
    engine = Script(beginning, {"": "ok"})
    assert TextGenerator(engine, beginning, defaults(beginning))("").text == "ok"
    assert engine.calls[-1][0]["input_ids"].tolist() == [[beginning.bos_id]]


def test_a_text_ends_before_a_stop_string_whose_tokens_are_still_there(make, tokenizer):
    result = make({"fox": " jumps. Over. The"})("fox", stop=[". T", "ver"])
    assert (result.text, result.ended_by, result.finished) == (" jumps. O", "stop", True)
    assert tokenizer.decode(result.token_ids).startswith(" jumps. Over")
    assert len(result.token_ids) < len(tokenizer.encode_plain(" jumps. Over. The"))


def test_the_checkpoints_stop_strings_hold_where_no_others_are_given(make):
    generator = make({"fox": " one two three"}, stop=("two",))
    assert generator("fox").text == " one "
    assert generator("fox", stop="three").text == " one two "
    assert generator("fox", stop=[]).text == " one two three"


def test_a_stop_string_may_begin_in_the_prompt_and_none_of_it_is_shown(make):
    result = make({"fox": "es run"})("the fox", stop=["foxes"])
    assert (result.text, result.ended_by) == ("", "stop")
    assert make({"fox": "es run"})("the fox", stop=["the"]).text == "es run"


@pytest.mark.parametrize("stop", [[""], ["a", ""], [1]])
def test_a_stop_that_is_no_text_is_refused(make, stop):
    with pytest.raises(ConfigError, match="stop must be texts that are not empty"):
        make({})("a", stop=stop)


def test_a_text_that_max_new_tokens_cut_says_so(make):
    result = make({"fox": " jumps over the lazy dog"})("fox", max_new_tokens=3)
    assert (result.ended_by, result.finished, len(result.token_ids)) == ("length", False, 3)
    assert result.as_json()["finished"] is False


def test_what_does_not_fit_the_positions_is_refused_with_the_numbers(make):
    generator = make({}, positions=16)
    with pytest.raises(InputError, match=r"prompt 1 has 20 tokens, but the model has 16 positions: shorten it"):
        generator("x" * 20)
    with pytest.raises(InputError, match=r"16 tokens, but the model has 16 positions, and writing needs one more"):
        generator("x" * 16)
    with pytest.raises(
        InputError, match=r"prompt 2 has 10 tokens, which with max_new_tokens \(7\) makes 17, .* 6 at most"
    ):
        generator(["x", "x" * 10], max_new_tokens=7)
    reader = make({}, positions=16, writes="tiny")
    with pytest.raises(InputError, match="prompt 1 has 21 tokens, but the model has 16 positions"):
        reader("x" * 20)
    with pytest.raises(InputError, match="max_new_tokens must be at most 16"):
        reader("x", max_new_tokens=17)


def test_where_nobody_asked_for_a_length_a_text_is_as_long_as_fits_whatever_its_batch_mates(make):
    generator = make({"x": "y" * 40}, positions=16)
    long, short = generator(["x" * 10, "x"])
    assert [len(long.token_ids), len(short.token_ids)] == [6, 15]
    assert (short.ended_by, len(generator("x").token_ids)) == ("length", 15)


def test_a_length_that_counts_the_prompt_is_each_prompts_own(make):
    generator = make({"x": "y" * 40}, positions=64)
    long, short = generator(["x" * 10, "x"], max_length=14)
    assert [(len(entry.token_ids), entry.ended_by) for entry in (long, short)] == [(4, "length"), (13, "length")]


def test_alternatives_come_best_first_with_their_scores(make):
    best = make({"x": "y"})("x", num_beams=3, num_return_sequences=3, max_new_tokens=4)
    scores = [best.score, *(entry.score for entry in best.alternatives)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert best.text == "y"
    assert len(best.as_json()["alternatives"]) == 2


def test_token_scores_belong_to_the_tokens(make):
    result = make({"x": "yz"})("x", return_scores=True)
    assert len(result.token_scores) == len(result.tokens) == 3
    assert result.score == pytest.approx(sum(result.token_scores) / 3)
    assert make({"x": "yz"})("x").token_scores is None


def test_only_what_is_allowed_is_written(make):
    generator = make({"x": "yes"})
    assert generator("x", allowed=["maybe", "no"]).text in ("maybe", "no")
    assert generator("x", allowed=["maybe", "yes"]).text == "yes"
    with pytest.raises(ConfigError, match="max_new_tokens must be at least 6, for the longest text that is allowed"):
        generator("x", allowed=["xyzzy"], max_new_tokens=3)
    for allowed in ([], "yes", [""]):
        with pytest.raises(ConfigError, match="allowed must be a list of texts"):
            generator("x", allowed=allowed)


def test_each_prompt_has_its_own_seed_whatever_the_batches(make):
    def seeds(budget, **more):
        generator = make({})
        generator(["aaa", "b", "cc"], do_sample=True, batch_tokens=budget, **more)
        found = {}
        for batch, options in generator.engine.calls:
            rows = zip(*batch.values(), options.row_seeds(len(batch["input_ids"]))[:, 0], strict=True)
            found |= {generator.tokenizer.decode(ids[real == 1].tolist()): int(seed) for ids, real, seed in rows}
        return found

    assert seeds(4096, seed=7) == seeds(1, seed=7) == {"aaa": 7, "b": 8, "cc": 9}
    assert seeds(4096, seed=7, first=3) == {"aaa": 10, "b": 11, "cc": 12}
    assert seeds(1, seed=(5, 0, 5)) == {"aaa": 5, "b": 0, "cc": 5}
    with pytest.raises(ConfigError, match=r"one an item \(3\), but has 2"):
        seeds(1, seed=(1, 2))


@pytest.mark.parametrize("stop", [(), ("😀",), ("。", "over the"), ("气很",)])
@pytest.mark.parametrize("answer", [" jumps over the dog", "天气很好。😀", "", "\ud800x", "é</s>"])
def test_the_pieces_of_a_stream_are_the_text_and_split_no_character(make, answer, stop):
    generator = make({"fox": answer})
    pieces = generator.stream("the fox", stop=stop)
    shown = list(pieces)
    whole = generator("the fox", stop=stop)
    assert "".join(shown) == whole.text == pieces.result.text
    assert all(shown)
    assert not any("\ufffd" in piece for piece in shown if "\ud800" not in answer)
    assert (pieces.result.ended_by, pieces.result.token_ids) == (whole.ended_by, whole.token_ids)


def test_a_stream_comes_token_by_token_and_may_be_given_up(make):
    generator = make({"fox": " jumps over the lazy dog"})
    pieces = generator.stream("the fox")
    begun = next(pieces)
    assert " jumps over".startswith(begun)
    pieces.close()
    assert list(pieces) == []
    assert pieces.result.text == begun


def test_a_stream_is_of_one_text(make):
    for several in ({"num_beams": 2}, {"do_sample": True, "num_return_sequences": 2}):
        with pytest.raises(ConfigError, match="num_beams and num_return_sequences must be 1"):
            make({}).stream("x", **several)


@given(
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    pieces=st.lists(st.text("abc", max_size=3), max_size=8),
    before=st.text("abc", max_size=5),
)
@example(stops=["b", "abc"], pieces=["a"], before="ab")  # the beginning of a stop that holds another one
def test_a_text_is_cut_before_the_stop_that_ends_first_however_it_comes(stops, pieces, before):
    cutter = StopCutter(stops, before)
    shown = "".join(map(cutter.push, pieces)) + cutter.finish()
    whole = before + "".join(pieces)
    places = range(len(before), len(whole) + 1)
    ends = [(end, end - len(stop)) for end in places[1:] for stop in stops if whole[:end].endswith(stop)]
    expected = whole[len(before) : max(min(ends)[1], len(before))] if ends else whole[len(before) :]
    assert (shown, cutter.found) == (expected, bool(ends))


def test_stop_strings_of_a_checkpoint_that_are_no_texts_are_refused():
    assert kept_stop_strings({"stop_strings": "x"}, "here") == ("x",)
    assert kept_stop_strings({}, "here") == ()
    for wrong in (3, [""], [None], {"a": 1}):
        with pytest.raises(CheckpointError, match=r"here: generation_config\.json: stop_strings must be texts"):
            kept_stop_strings({"stop_strings": wrong}, "here")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tokenizer):
    """A tiny Llama with fresh weights that are large enough to make its mind up."""
    path = tmp_path_factory.mktemp("llama") / "model"
    model = build_model(from_config(Config(llama_config(tokenizer, positions=128))))
    noise = np.random.default_rng(3)
    for variable in model.variables:
        variable.assign(noise.normal(scale=0.8, size=variable.shape))
    save_model(model, path, tokenizer=tokenizer)
    return path


def test_a_language_model_is_loaded_as_a_generator_and_embeds_where_that_is_asked_for(checkpoint):
    generator = load(checkpoint)
    assert type(generator) is TextGenerator
    assert generator.defaults.max_new_tokens == 256
    assert type(load(checkpoint, task="embed")) is Embedder


def test_the_checkpoints_own_length_and_stop_strings_are_taken(checkpoint, tmp_path, caplog):
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    said = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps({**said, "max_new_tokens": 9, "stop_strings": ["q"]}))
    generator = load(tmp_path)
    assert (generator.defaults.max_new_tokens, generator.stop) == (9, ("q",))
    assert caplog.messages == [f"{tmp_path}: stop_strings end what the tasks generate and chat write, and nothing else"]


def test_a_real_network_writes_alike_alone_in_a_batch_and_as_a_stream(checkpoint):
    generator = load(checkpoint)
    prompts = ["the quick brown", "x", "天气"]
    together = generator(prompts, max_new_tokens=12)
    for prompt, result in zip(prompts, together, strict=True):
        assert generator(prompt, max_new_tokens=12).token_ids == result.token_ids
    pieces = generator.stream(prompts[0], max_new_tokens=12)
    assert "".join(pieces) == together[0].text
    assert pieces.result.token_ids == together[0].token_ids
    character = next(c for c in together[0].text[2:] if c != "\ufffd")
    cut = generator(prompts[0], max_new_tokens=12, stop=character)
    assert (cut.text, cut.ended_by) == (together[0].text.partition(character)[0], "stop")
    assert len(cut.token_ids) < 12 or cut.token_ids == together[0].token_ids


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_guesses_of_the_prompt_and_of_an_assistant_write_the_same(checkpoint, capsys, engine):
    arguments = ["generate", str(checkpoint), "the quick the quick", "--max-new-tokens", "12", "--engine", engine]
    assert main(arguments) == 0
    expected = capsys.readouterr().out
    for guessing in (["--prompt-lookup-num-tokens", "4"], ["--assistant", str(checkpoint)]):
        assert main([*arguments, *guessing]) == 0
        assert capsys.readouterr().out == expected


def test_prompts_of_all_lengths_go_through_one_graph_where_no_rule_reads_them(checkpoint):
    generator = load(checkpoint)
    searches = generator.engine.generator.searches
    prompts = ["天" * length for length in (3, 40, 75)]
    for options, graphs in (({"do_sample": True, "seed": 5, "stop": "q"}, 2), ({"repetition_penalty": 1.3}, 6)):
        searches.clear()
        shown = ["".join(generator.stream(prompt, max_new_tokens=6, **options)) for prompt in prompts]
        assert [generator(prompt, max_new_tokens=6, **options).text for prompt in prompts] == shown
        assert len(searches) == graphs  # of whole texts and of pieces
        parts = [search for kind, search in searches.items() if kind[0] == "parts"]
        assert all(part.begin.experimental_get_tracing_count() == 1 for part in parts)
