"""What stands around a transcription: the tokens of a checkpoint, the cut into stretches, subtitles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.errors import CheckpointError, ConfigError
from regard.interop.speech_tokens import read_speech_tokens
from regard.models.family import Config
from regard.models.whisper import from_config
from regard.tasks.segments import Stretch, stretches
from regard.tasks.subtitles import written
from regard.tasks.transcribe import Segment, Transcription

T = 100  # the id of <|0.00|>


def cut(*ids, frames=60):
    found, further = stretches(ids, T, frames)
    return [(one.first, one.last, "".join(map(chr, (i for i in one.ids if i < T)))) for one in found], further


def test_a_window_is_cut_where_two_timestamps_stand_side_by_side():
    a, b, c = b"abc"
    assert cut(T, a, T + 4, T + 4, b, c, T + 9, T + 9) == ([(0, 4, "a"), (4, 9, "bc")], 18)
    assert cut(T + 1, a, T + 4, T + 5) == ([(1, 4, "a")], 8)  # the next begins where the last ends


def test_a_stretch_without_an_end_is_left_to_the_next_window():
    a, b, c = b"abc"
    assert cut(T, a, T + 4, T + 4, b, c) == ([(0, 4, "a")], 8)


def test_a_single_timestamp_at_the_end_says_that_nothing_follows():
    a, b = b"ab"
    assert cut(T, a, T + 4, T + 5, b, T + 9) == ([(0, 4, "a"), (5, 9, "b")], 60)


@pytest.mark.parametrize(
    ("ids", "last"), [((), 30), ((T,), 30), ((T, 97), 30), ((T, 97, T + 7), 7), ((T + 3, 97), 3), ((97, 98), 30)]
)
def test_without_a_pair_all_is_one_stretch(ids, last):
    assert stretches(ids, T, 60) == ([Stretch(0, last, ids)], 60)
    assert stretches(ids, T, 59).found[0].last == (29 if last == 30 else last)


@given(st.lists(st.sampled_from([97, 98, *range(T, T + 31)]), max_size=12))
def test_a_window_always_goes_on_and_says_nothing_twice(ids):
    found, further = stretches(ids, T, 60)
    assert 0 < further <= 60
    said = [token for one in found for token in one.ids]
    assert said == ids[: len(said)]


SPEC = from_config(
    Config(
        {
            "d_model": 4,
            "vocab_size": 120,
            "pad_token_id": 50,
            "eos_token_id": 50,
            "decoder_start_token_id": 51,
            **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        }
    )
)
NAMED = ("<|transcribe|>", "<|translate|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>")
NAMES = dict(zip(NAMED, range(54, 59), strict=True))
SPOKEN = {"en": 52, "de": 53}


def read(said, names=NAMES, spoken=SPOKEN):
    return read_speech_tokens(said, SPEC, names.get, spoken)


def test_ids_come_from_the_config_and_else_from_the_tokenizer():
    known = read({})
    assert known.prompt("de", "translate", timestamps=False) == [51, 53, 55, 58]
    assert known.prompt("en", "transcribe", timestamps=True) == [51, 52, 54]
    assert (known.first_time, known.previous, known.no_speech, known.latest_first) == (59, 56, 57, None)
    said = {
        "lang_to_id": {"<|de|>": 60},
        "task_to_id": {"translate": 61},
        "no_timestamps_token_id": 70,
        "max_initial_timestamp_index": 9,
    }
    other = read(said)
    assert other.prompt("de", "translate", timestamps=False) == [51, 60, 61, 70]
    assert other.prompt("de", "transcribe", timestamps=True) == [51, 60]
    rule = other.rule()
    assert (rule.begin, rule.eos, rule.no_timestamps, rule.latest_first) == (71, 50, 70, 9)


def test_the_first_checkpoints_say_by_their_prompt_what_they_are_for():
    assert (read({"forced_decoder_ids": [[1, None], [2, 55]]}).language, read({}).language) == (None, None)
    german = read({"forced_decoder_ids": [[1, 53], [2, 55], [3, 58]]})
    assert (german.language, german.task) == ("de", "translate")
    named = read({"language": "<|de|>", "forced_decoder_ids": [[1, 52], [2, 55]]})
    assert (named.language, named.task) == ("de", "transcribe")


@pytest.mark.parametrize("said", [{"is_multilingual": False}, {"forced_decoder_ids": [[1, 58]]}])
def test_an_english_model_knows_no_other_though_its_tokenizer_does(said):
    known = read(said)
    assert not known.languages
    assert known.prompt(None, "transcribe", timestamps=False) == [51, 58]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"lang_to_id": {"<|de|>": 120}}, r"the token of de must be an id below vocab_size \(120\), but is 120"),
        ({"lang_to_id": {"<|de|>": "53"}}, "lang_to_id must give each name an id"),
        ({"task_to_id": [1, 2]}, "task_to_id must give each name an id"),
        ({"no_timestamps_token_id": 1.5}, r"no_timestamps_token_id must be a whole number, but is 1\.5"),
        ({"max_initial_timestamp_index": -1}, "max_initial_timestamp_index must be at least 0, but is -1"),
        ({"forced_decoder_ids": [1]}, "forced_decoder_ids must be pairs of a place and an id"),
        ({"task": "sing"}, "asks for the task 'sing'"),
    ],
)
def test_a_config_that_cannot_be_is_refused(said, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        read(said)


def test_timestamps_beyond_the_vocabulary_are_none():
    tokens = read({"no_timestamps_token_id": 119})
    assert tokens.first_time is None
    with pytest.raises(CheckpointError, match="the model has no timestamps"):
        tokens.rule()


FOUND = Transcription(
    "One & two. Three -->\n\nfour.",
    "en",
    3725.0,
    (Segment(0.0, 1.28, "One & two."), Segment(3723.4, 3725.0049, "Three -->\n\nfour.")),
)


def test_subtitles_have_their_clocks_and_no_blank_line_inside():
    assert written(FOUND, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,280\nOne & two.\n\n2\n01:02:03,400 --> 01:02:05,005\nThree --> four.\n"
    )
    assert written(FOUND, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.280\nOne &amp; two.\n\n01:02:03.400 --> 01:02:05.005\nThree --&gt; four.\n"
    )
    assert written(FOUND, "txt") == "0.00\t1.28\tOne & two.\n3723.40\t3725.00\tThree --> four.\n"
    assert written(Transcription("a\nb", "en", 1.0), "txt") == "a b\n"
    assert written(Transcription("", "en", 1.0), "vtt") == "WEBVTT\n"
    with pytest.raises(ConfigError, match="format must be one of txt, srt, vtt, but is 'doc'"):
        written(FOUND, "doc")
