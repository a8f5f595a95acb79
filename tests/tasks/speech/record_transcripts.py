"""Record what Transformers' Whisper hears in long sounds, window by window, for test_transcribe.py.

Needs torch and transformers: python tests/tasks/speech/record_transcripts.py. Written with Transformers 5.23.0.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
import whispers
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

HERE = Path(__file__).parent
SEEDS = (8, 3)
SOUNDS = ((1, 3.7), (2, 2.25), (3, 5.13))  # seed, seconds
SHORT = ((4, 0.6), (5, 1.0))
MODES: dict[str, dict[str, Any]] = {
    "plain": {"condition_on_prev_tokens": False, "task": "transcribe"},
    "conditioned": {"condition_on_prev_tokens": True, "task": "transcribe"},
    "german": {"condition_on_prev_tokens": False, "task": "translate", "language": "de"},
    "beams": {"condition_on_prev_tokens": True, "task": "transcribe", "num_beams": 3},
    "silent": {
        "condition_on_prev_tokens": True,
        "task": "transcribe",
        "logprob_threshold": -0.5,
        "no_speech_threshold": 0.0005,
    },
}
ROUNDING = 1e-5  # of the weights: what changes with it hangs on the last digits
EXTRACTOR = WhisperFeatureExtractor(**{key: v for key, v in whispers.PROCESSOR.items() if "type" not in key})


def model_of(seed: int, rounding: float = 0.0) -> Any:
    with tempfile.TemporaryDirectory() as directory:
        model = WhisperForConditionalGeneration.from_pretrained(whispers.write(Path(directory), seed)).eval()
    noise = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data *= 1 + rounding * torch.randn(weight.shape, generator=noise)
    return model


def text_of(tokens: list[int]) -> str:
    letters = [whispers.LETTERS[token] for token in tokens if token < len(whispers.LETTERS)]
    return "".join(letters).replace("Ġ", " ").strip()


@torch.no_grad()
def heard(model: Any, sound: tuple[int, float], options: dict[str, Any], timestamps: bool) -> dict[str, Any]:
    long = {"truncation": False, "padding": "longest"} if timestamps else {}
    samples = whispers.sound(*sound)
    features = EXTRACTOR(samples, sampling_rate=whispers.RATE, return_tensors="pt", **long).input_features
    names = {token: name.strip("<|>") for name, token in whispers.GENERATION["lang_to_id"].items()}
    language = (
        options.get("language") or names[int(model.detect_language(features, num_segment_frames=2 * whispers.STEPS)[0])]
    )
    asked = {"max_new_tokens": 16, "temperature": (0.0,), "return_timestamps": timestamps, **options}
    if not timestamps:
        # Else it goes on from a timestamp that came unasked.
        ids = model.generate(features, force_unique_generate_call=True, **asked)[0].tolist()
        return {"language": language, "text": text_of(ids)}
    found = model.generate(features, return_segments=True, **asked)["segments"][0]
    segments = [(round(float(one["start"]), 4), round(float(one["end"]), 4), text_of(one["tokens"])) for one in found]
    return {"language": language, "segments": segments}


def main() -> None:
    cases = []
    for seed in SEEDS:
        model, other = model_of(seed), model_of(seed, ROUNDING)
        for mode, options in MODES.items():
            if seed != SEEDS[0] and mode == "beams":  # each graph takes the tests seconds
                continue
            for sound in (*SOUNDS, *(SHORT if mode in ("plain", "german") and seed == SEEDS[0] else ())):
                timestamps = sound not in SHORT
                found = heard(model, sound, options, timestamps)
                if found == heard(other, sound, options, timestamps):
                    cases.append({"model": seed, "mode": mode, "sound": sound, "options": options, **found})
    lines = ",\n".join(json.dumps(case) for case in cases)
    content = f'{{"transformers": "{transformers.__version__}", "cases": [\n{lines}\n]}}\n'
    (HERE / "transcripts.json").write_text(content, "utf-8")
    print(len(cases), "cases")


main()
