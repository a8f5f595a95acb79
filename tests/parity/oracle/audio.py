"""Whisper: the multilingual kind, the English kind, and the older ways to say what it should do."""

from dataclasses import replace

from oracle.case import Case, Randomness
from oracle.seq2seq import turned

END, START, ENGLISH, GERMAN, TRANSCRIBE, TRANSLATE, NO_TIMESTAMPS = range(57, 64)
TIMESTAMPS = 16  # how many ids follow NO_TIMESTAMPS
WHISPER = {
    "vocab_size": NO_TIMESTAMPS + 1 + TIMESTAMPS,
    "num_mel_bins": 7,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 19,
    "decoder_ffn_dim": 23,
    "max_source_positions": 9,
    "max_target_positions": 24,
    "bos_token_id": END,
    "eos_token_id": END,
    "pad_token_id": END,
    "decoder_start_token_id": START,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
SUPPRESSED = {
    "suppress_tokens": [1, 3, START, ENGLISH, GERMAN, TRANSCRIBE, TRANSLATE, NO_TIMESTAMPS],
    "begin_suppress_tokens": [5, END],
    "no_timestamps_token_id": NO_TIMESTAMPS,
    "max_initial_timestamp_index": 5,
    "return_timestamps": False,
}
MULTILINGUAL = {
    **SUPPRESSED,
    "is_multilingual": True,
    "lang_to_id": {"<|en|>": ENGLISH, "<|de|>": GERMAN},
    "task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
}


def of_whisper() -> list[Case]:
    multilingual = Case(
        name="whisper-transcription",
        family="whisper",
        head="seq2seq",
        form="audio",
        architecture="WhisperForConditionalGeneration",
        config=WHISPER,
        notes="language and task are options; the prompt that follows from them is no part of the sequences",
        random=Randomness(gain=0.8, embedding=0.4, table=1.0, eos=1.8),
        prepare=turned,
        suite="full",
        always={"language": "de", "task": "transcribe"},
        started=4,
        generation_config=MULTILINGUAL,
    )
    short = replace(multilingual, suite="short", brief=True)
    english = {**SUPPRESSED, "is_multilingual": False}
    forced = {**SUPPRESSED, "forced_decoder_ids": [[1, ENGLISH], [2, TRANSLATE], [3, NO_TIMESTAMPS]]}
    relu = {"activation_function": "relu", "d_model": 18, "encoder_layers": 3, "decoder_layers": 1}
    return [
        multilingual,
        short.varied(
            "english",
            "the English kind: no language, no task; relu in the layers, gelu after the convolutions all the same",
            relu,
            always={},
            started=2,
            generation_config=english,
        ),
        short.varied(
            "forced", "forced_decoder_ids, as the first checkpoints had them", always={}, generation_config=forced
        ),
        short.varied("detected", "no language is given: each row has the likelier one", always={"task": "translate"}),
        short.varied(
            "timestamps",
            "return_timestamps: the rules on pairs of timestamps, and no no_timestamps token in the prompt",
            always={"language": "en", "task": "transcribe", "return_timestamps": True},
            started=3,
        ),
    ]


CASES = of_whisper()
