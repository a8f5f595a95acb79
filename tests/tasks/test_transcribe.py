"""Recordings through a whole tiny Whisper; speech/record_transcripts.py recorded what Transformers hears in them."""

import functools
import io
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

import regard
from regard.errors import CheckpointError, ConfigError, InputError
from regard.tasks.hearing import MEMORY, Ask, Hearing, compression_ratio
from regard.tasks.transcribe import Transcriber
from regard.tasks.transcribe_options import TranscribeOptions

HERE = Path(__file__).with_name("speech")
sys.path.append(str(HERE))

import whispers  # noqa: E402

CASES = json.loads((HERE / "transcripts.json").read_text("utf-8"))["cases"]
ONCE = {"temperature": 0.0, "compression_ratio_threshold": None, "logprob_threshold": None, "no_speech_threshold": None}
BRIEF = {**ONCE, "max_new_tokens": 16}
_KEPT = tempfile.TemporaryDirectory()  # goes with the process


@functools.cache
def transcriber(seed: int) -> Transcriber:
    return regard.load(whispers.write(Path(_KEPT.name) / str(seed), seed))


def sound(seed: int, seconds: float) -> tuple[np.ndarray, int]:
    return whispers.sound(seed, seconds), whispers.RATE


def another(tmp_path, **generation):
    """The checkpoint of seed 8, whose generation_config.json says otherwise; None: it does not say."""
    said = {key: value for key, value in {**whispers.GENERATION, **generation}.items() if value is not None}
    return whispers.write(tmp_path / "model", 8, said)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}-{case['mode']}-{case['sound'][1]}s")
def test_long_and_short_sounds_are_heard_as_transformers_hears_them(case):
    settings = {**BRIEF, **case["options"]}
    found = transcriber(case["model"])(sound(*case["sound"]), timestamps="segments" in case, **settings)
    assert found.language == case["language"]
    if "segments" not in case:
        assert found.text == case["text"]
        return
    expected = [tuple(segment) for segment in case["segments"] if segment[2]]
    assert [(round(one.start, 4), round(one.end, 4), one.text) for one in found.segments] == expected


def test_what_one_recording_says_does_not_hang_on_the_others():
    sources = [sound(1, 3.7), sound(4, 0.6), (np.ones(1, np.float32), 16_000), sound(2, 2.25), (np.zeros(9000), 16_000)]
    settings = {"timestamps": True, "max_new_tokens": 16, "seed": 7}  # with samples at higher temperatures
    alone = [transcriber(8)(source, **settings) for source in sources]
    assert len({one.text for one in alone}) > 2
    for batch_size in (2, 8):
        assert transcriber(8)(sources, batch_size=batch_size, **settings) == alone
    assert transcriber(8)(sources[::-1], batch_size=3, **settings) == alone[::-1]


def test_a_path_bytes_and_an_array_are_one_recording(tmp_path):
    samples, rate = sound(2, 2.25)
    soundfile.write(tmp_path / "talk.wav", samples, rate, subtype="FLOAT")
    content = io.BytesIO()
    soundfile.write(content, samples, rate, subtype="FLOAT", format="WAV")
    paths = [tmp_path / "talk.wav", str(tmp_path / "talk.wav"), content.getvalue(), (samples, rate)]
    first, *others = transcriber(8)(paths, **BRIEF)
    assert first.text
    assert first.seconds == pytest.approx(2.25)
    assert others == [first] * 3


def test_a_long_recording_without_timestamps_has_the_text_of_one_with_them():
    plain, timed = (transcriber(8)(sound(1, 3.7), timestamps=timestamps, **BRIEF) for timestamps in (False, True))
    assert plain.text == timed.text
    assert plain.segments == ()
    assert "".join(one.text for one in timed.segments).replace(" ", "") == plain.text.replace(" ", "")


def test_a_model_without_timestamps_goes_on_from_window_to_window(tmp_path):
    path = another(tmp_path)
    (path / "config.json").write_text(json.dumps({**whispers.CONFIG, "vocab_size": whispers.FIRST_TIME}))
    tensors, table = whispers.weights(8), "model.decoder.embed_tokens.weight"
    save_file({**tensors, table: tensors[table][: whispers.FIRST_TIME]}, path / "model.safetensors")
    found = regard.load(path)
    samples, rate = sound(3, 2.0)
    whole = found((samples, rate), condition_on_prev_tokens=False, language="en", **BRIEF)
    log_mel = found.processor.log_mel
    halves = log_mel(samples).reshape(2, log_mel.window_frames, -1)
    prompt = np.array([found.tokens.prompt("en", "transcribe", timestamps=False)] * 2)
    heard = found.engine.generate({"input_features": halves, "decoder_input_ids": prompt}, max_new_tokens=16)
    ids = [row[0, :length].tolist() for row, length in zip(heard.sequences, heard.lengths[:, 0], strict=True)]
    assert whole.text == found.tokenizer.decode(ids[0] + ids[1]).strip()
    assert whole.text
    with pytest.raises(CheckpointError, match="the model has no timestamps"):
        found((samples, rate), timestamps=True)


def test_silence_one_sample_and_no_sample_have_a_result():
    for samples in (np.zeros(40_000), np.zeros(1)):
        found = transcriber(8)((samples, 16_000), no_speech_threshold=0.0, logprob_threshold=None)
        assert (found.text, found.segments, found.cut) == ("", (), ())
    with pytest.raises(InputError, match="recording 2: an array of samples is empty"):
        transcriber(8)([(np.zeros(1), 16_000), (np.zeros(0), 16_000)], **BRIEF)


def test_what_was_heard_before_a_bad_recording_comes_first():
    sources = [sound(4, 0.6), sound(2, 2.25), "nowhere.wav", sound(5, 1.0)]
    found = transcriber(8).each(sources, batch_size=2, **BRIEF)
    assert [next(found).seconds, next(found).seconds] == [pytest.approx(0.6), pytest.approx(2.25)]
    with pytest.raises(InputError, match=r"^cannot read nowhere\.wav: it is no file"):
        next(found)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_bad_recording_costs_itself_alone_where_somebody_is_told(batch_size):
    refused, good = [], [sound(4, 0.6), sound(2, 2.25), sound(5, 1.0)]
    sources = [(np.zeros(0), 16_000), "nowhere.wav", good[0], good[1], b"RIFF", good[2], b""]
    settings = {"batch_size": batch_size, "refused": lambda *what: refused.append(what), **BRIEF}
    found = list(transcriber(8).each(sources, **settings))
    assert [one.text for one in found] == [one.text for one in transcriber(8)(good, **BRIEF)]
    assert [one.seconds for one in found] == [pytest.approx(seconds) for seconds in (0.6, 2.25, 1.0)]
    assert [number for number, _ in refused] == [1, 2, 5, 7]
    assert str(refused[0][1]).startswith("recording 1: an array of samples is empty")


def test_progress_tells_how_far_each_recording_is():
    told = []
    transcriber(8)([sound(1, 3.7), sound(4, 0.6)], progress=lambda *values: told.append(values), **BRIEF)
    for number, seconds in ((1, 3.7), (2, 0.6)):
        own = [heard for which, heard, whole in told if which == number and whole == pytest.approx(seconds)]
        assert own == sorted(own)
        assert own[-1] == pytest.approx(seconds)


def test_a_text_that_is_no_good_at_the_last_temperature_is_told():
    hopeless = BRIEF | {"temperature": 0.0, "logprob_threshold": 1.0, "no_speech_threshold": None, "language": "de"}
    assert transcriber(8)(sound(5, 1.0), **hopeless).doubtful == (0.0,)
    hopeful = hopeless | {"logprob_threshold": None, "compression_ratio_threshold": None}
    assert transcriber(8)(sound(5, 1.0), **hopeful).doubtful == ()


def test_a_text_that_comes_to_its_longest_is_told():
    found = transcriber(8)(sound(5, 1.0), language="de", **{**BRIEF, "max_new_tokens": 2})
    assert found.cut == (0.0,)
    for told, most in ((True, 16), (False, 36)):
        complaint = f"max_new_tokens must be 1 to {most}, for which the model has places, but is {most + 1}"
        with pytest.raises(ConfigError, match=complaint):
            transcriber(8)(sound(5, 1.0), condition_on_prev_tokens=told, max_new_tokens=most + 1)


def test_a_language_may_be_said_by_its_name_and_a_wrong_one_names_what_is_near():
    by_code, by_name, by_token = (
        transcriber(8)(sound(2, 2.25), language=name, task="translate", **BRIEF) for name in ("de", "German", "<|de|>")
    )
    assert by_code == by_name == by_token
    assert by_code.language == "de"
    assert by_code != transcriber(8)(sound(2, 2.25), language="cy", task="translate", **BRIEF)
    with pytest.raises(InputError, match=r"there is no language 'welch': did you mean welsh\?"):
        transcriber(8)(sound(4, 0.6), language="welch")
    with pytest.raises(InputError, match=r"does not know french \(fr\): language must be one of cy, de, en"):
        transcriber(8)(sound(4, 0.6), language="French")


def test_an_english_model_refuses_a_language_and_a_task(tmp_path):
    found = regard.load(another(tmp_path, is_multilingual=False, lang_to_id=None, task_to_id=None))
    assert found.languages == ()
    assert found(sound(4, 0.6), **BRIEF).language == "en"
    for name, value in (("language", "de"), ("task", "translate")):
        with pytest.raises(InputError, match=f"knows no other {name}: leave {name} out"):
            found(sound(4, 0.6), **{name: value})


def test_what_the_checkpoint_was_made_for_counts_where_nothing_is_asked_for(tmp_path):
    found = regard.load(another(tmp_path, language="german", task="translate"))
    asked = transcriber(8)(sound(2, 2.25), language="de", task="translate", **BRIEF)
    assert found(sound(2, 2.25), **BRIEF) == asked
    assert found(sound(2, 2.25), task="transcribe", **BRIEF).language == "en"  # heard, as Transformers has it


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"timestamp": True}, "unknown option timestamp: did you mean timestamps?"),
        ({"task": "sing"}, "task must be one of transcribe, translate, but is 'sing'"),
        ({"temperature": ()}, "temperature must be one number or several"),
        ({"temperature": (0.0, -1.0)}, "temperature must be one number or several"),
        ({"batch_size": 0}, "batch_size must be at least 1, but is 0"),
        ({"logprob_threshold": float("nan")}, "logprob_threshold must be a number or None"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        transcriber(8)(sound(4, 0.6), **settings)


def test_a_processor_of_another_model_is_refused(tmp_path):
    path = another(tmp_path)
    (path / "preprocessor_config.json").write_text(json.dumps({**whispers.PROCESSOR, "chunk_length": 2}))
    with pytest.raises(CheckpointError, match=r"frames of a window .* must be 100, as the model reads, but are 200"):
        regard.load(path)


def test_a_decoder_hears_whole_windows(tmp_path):
    path = another(tmp_path)
    (path / "preprocessor_config.json").write_text(json.dumps({**whispers.PROCESSOR, "pad_to_multiple_of": 3200}))
    with pytest.raises(CheckpointError, match="reads whole windows, but pad_to_multiple_of is 3200"):
        regard.load(path)


def hearing(**settings) -> Hearing:
    """Of windows that need no context."""
    own = transcriber(8)
    base = own.defaults.merged(max_new_tokens=16, return_scores=True)
    return Hearing(own.engine, own.tokenizer, own.tokens, base, TranscribeOptions(**settings), 4)


@functools.cache
def memory() -> np.ndarray:
    processor = transcriber(8).processor
    features = processor([sound(seed, 1.0) for seed in range(3)])
    return np.asarray(transcriber(8).engine.encode({"input_features": features}))


@pytest.mark.parametrize("timestamps", [False, True])
def test_a_sample_is_judged_by_its_likelihood_at_temperature_1(timestamps):
    """At a temperature next to 0 it is what greedy search finds, and as likely."""
    asks = [Ask(transcriber(8).tokens.prompt("de", "transcribe", timestamps), seed) for seed in range(3)]
    cold, almost = (hearing(temperature=t)(memory(), asks, timestamps) for t in (0.0, 1e-4))
    assert [one.ids for one in cold] == [one.ids for one in almost]
    assert all(one.ids for one in cold)
    for one, other in zip(cold, almost, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
        assert one.log_probability < -0.05


def test_a_text_is_tried_again_until_it_is_likely_enough_and_does_not_repeat_itself():
    asks = [Ask(transcriber(8).tokens.prompt("de", "transcribe", True), seed) for seed in range(3)]
    tried = (0.0, 0.5, 1.0)
    least = sorted(one.log_probability for one in hearing(temperature=0.0)(memory(), asks, True))
    between = (least[0] + least[1]) / 2
    settings = {"temperature": tried, "compression_ratio_threshold": None, "no_speech_threshold": None}
    found = hearing(logprob_threshold=between, **settings)(memory(), asks, True)
    assert sorted(one.temperature > 0 for one in found) == [False, False, True]
    assert all(one.is_good or one.temperature == 1.0 for one in found)
    hopeless = hearing(logprob_threshold=1.0, **settings)(memory(), asks, True)
    assert {one.temperature for one in hopeless} == {1.0}
    again = hearing(logprob_threshold=1.0, **settings)(memory()[1:], asks[1:], True)
    assert [one.ids for one in again] == [one.ids for one in hopeless[1:]]
    repeating = {**settings, "compression_ratio_threshold": 0.0, "logprob_threshold": None}
    assert {one.temperature for one in hearing(**repeating)(memory(), asks, True)} == {1.0}
    silent = {**settings, "no_speech_threshold": 0.0, "logprob_threshold": 1.0}
    assert {(one.temperature, one.is_speech) for one in hearing(**silent)(memory(), asks, True)} == {(0.0, False)}


def test_repetition_compresses_well():
    assert compression_ratio("the quick brown fox jumps over a lazy dog") < 1.2
    assert compression_ratio("again and again and " * 20) > 2.4
    assert compression_ratio("") == 0


def test_the_text_before_is_told_unless_it_was_sampled_hot(monkeypatch):
    own, prompts = transcriber(8), []
    prompted = Hearing._prompts
    monkeypatch.setattr(Hearing, "_prompts", lambda self, asks: prompts.extend(asks) or prompted(self, asks))
    previous = whispers.ID["<|startofprev|>"]
    own(sound(3, 5.13), timestamps=True, **BRIEF)
    first, second, *_, last = [ask.prompt for ask in prompts]
    assert first[0] == whispers.START
    assert second[0] == last[0] == previous
    assert last[1:20][-1] not in whispers.ID.values()
    assert len(last) == 1 + whispers.PLACES // 2 - 1 + 3
    for settings in ({"temperature": 0.5}, {"condition_on_prev_tokens": False}):
        prompts.clear()
        own(sound(3, 5.13), timestamps=True, **{**BRIEF, **settings})
        assert len(prompts) > 3
        assert all(ask.prompt[0] == whispers.START for ask in prompts)


def test_the_memory_of_an_encoder_stands_for_what_it_read():
    model, tokens = transcriber(8).engine, transcriber(8).tokens
    features = transcriber(8).processor([sound(seed, 1.0) for seed in range(3)])
    prompt = {"decoder_input_ids": np.array([tokens.prompt("de", "transcribe", True)] * 3)}
    read, remembered = (
        model.generate({**source, **prompt}, max_new_tokens=9, rule=tokens.rule())
        for source in ({"input_features": features}, {MEMORY: memory()})
    )
    np.testing.assert_array_equal(read.sequences, remembered.sequences)
    assert len({tuple(row) for row in read.sequences[:, 0].tolist()}) > 1
    logits = model({MEMORY: memory(), **prompt}).logits
    np.testing.assert_allclose(logits, model({"input_features": features, **prompt}).logits, atol=1e-5)
    with pytest.raises(InputError, match=r"encoder_last_hidden_state must be \(B, S, 16\), but is \(3, 50, 3\)"):
        model.generate({MEMORY: memory()[..., :3], **prompt})


def test_prompts_of_all_lengths_are_gone_on_from():
    model, prompt = transcriber(8).engine, transcriber(8).tokens.prompt("de", "transcribe", True)
    for length in (3, 36):
        ids = np.array([[*range(length - len(prompt)), *prompt]] * 3)
        found = model.generate({MEMORY: memory(), "decoder_input_ids": ids}, max_new_tokens=1, return_scores=True)
        logits = np.array(model({MEMORY: memory(), "decoder_input_ids": ids}).logits)[:, -1]
        logits[:, [*whispers.GENERATION["suppress_tokens"], *whispers.GENERATION["begin_suppress_tokens"]]] = -np.inf
        np.testing.assert_array_equal(found.sequences[:, 0, 0], logits.argmax(-1))


def test_a_rule_is_part_of_a_search():
    """One with a rule, one without and one with another are not confused."""
    model, tokens = transcriber(8).engine, transcriber(8).tokens
    batch = {MEMORY: memory(), "decoder_input_ids": np.array([tokens.prompt("de", "transcribe", True)] * 3)}
    rules = (tokens.rule(), None, tokens.rule())
    with_rule, without, again = (model.generate(batch, rule=rule, max_new_tokens=9) for rule in rules)
    np.testing.assert_array_equal(with_rule.sequences, again.sequences)
    assert (with_rule.sequences[:, 0, 0] >= tokens.first_time).all()
    assert (without.sequences != with_rule.sequences).any()
    streamed = list(model.generate_stream(batch, rule=tokens.rule(), max_new_tokens=9))
    np.testing.assert_array_equal(streamed[-1].cropped().sequences, with_rule.cropped().sequences)
