"""Tiny random Whisper checkpoints, with a tokenizer of single letters, and sounds to transcribe; NumPy alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LETTERS = [*"abcdefghijklmnopqrstuvw", "Ġ"]
SPECIALS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *("<|en|>", "<|de|>", "<|cy|>"),
    *("<|translate|>", "<|transcribe|>"),
    *("<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
]
ID = {token: len(LETTERS) + n for n, token in enumerate(SPECIALS)}
END, START, NO_TIMESTAMPS = (ID[f"<|{name}|>"] for name in ("endoftext", "startoftranscript", "notimestamps"))
FIRST_TIME, STEPS = NO_TIMESTAMPS + 1, 50  # a window is one second
WIDTH, MELS, PLACES = 16, 8, 40
RATE = 16_000
CONFIG = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "is_encoder_decoder": True,
    "vocab_size": FIRST_TIME + STEPS + 1,
    "num_mel_bins": MELS,
    "d_model": WIDTH,
    **{f"{side}_layers": 2 for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 24 for side in ("encoder", "decoder")},
    "max_source_positions": STEPS,
    "max_target_positions": PLACES,
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), END),
    "decoder_start_token_id": START,
}
GENERATION: dict[str, Any] = {
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), END),
    "decoder_start_token_id": START,
    "is_multilingual": True,
    "lang_to_id": {f"<|{code}|>": ID[f"<|{code}|>"] for code in ("en", "de", "cy")},
    "task_to_id": {task: ID[f"<|{task}|>"] for task in ("translate", "transcribe")},
    "no_timestamps_token_id": NO_TIMESTAMPS,
    "prev_sot_token_id": ID["<|startofprev|>"],
    "max_initial_timestamp_index": 20,
    "suppress_tokens": [5, *(i for token, i in ID.items() if token != "<|endoftext|>")],
    "begin_suppress_tokens": [len(LETTERS) - 1, END],
    "return_timestamps": False,
}
PROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": MELS,
    "sampling_rate": RATE,
    "hop_length": 160,
    "chunk_length": 1,
    "n_fft": 400,
}


def write(directory: Path, seed: int, generation: dict[str, Any] = GENERATION) -> Path:
    """A model directory; its tokenizer has no timestamps, as older ones."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {"config.json": CONFIG, "generation_config.json": generation, "preprocessor_config.json": PROCESSOR}
    vocabulary = {token: i for i, token in enumerate([*LETTERS, "<|endoftext|>"])}
    files |= {"vocab.json": vocabulary, "added_tokens.json": ID}
    files["tokenizer_config.json"] = {"tokenizer_class": "WhisperTokenizer", "additional_special_tokens": SPECIALS}
    for name, values in files.items():
        (directory / name).write_text(json.dumps(values, ensure_ascii=False), "utf-8")
    (directory / "merges.txt").write_text("#version: 0.2\n")
    save_file(weights(seed), directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def weights(seed: int) -> dict[str, np.ndarray]:
    """Of a network that says long and short things, now with and now without timestamps."""
    rng = np.random.default_rng(seed)

    def random(*shape: int, scale: float) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    table = random(CONFIG["vocab_size"], WIDTH, scale=0.9)
    table[FIRST_TIME:] *= 0.8  # together they would leave no room for text
    table[END] *= 1.5
    tensors = {
        "model.encoder.conv1.weight": random(WIDTH, MELS, 3, scale=0.6),
        "model.encoder.conv1.bias": random(WIDTH, scale=0.1),
        "model.encoder.conv2.weight": random(WIDTH, WIDTH, 3, scale=0.3),
        "model.encoder.conv2.bias": random(WIDTH, scale=0.1),
        "model.encoder.embed_positions.weight": random(STEPS, WIDTH, scale=0.3),
        "model.decoder.embed_tokens.weight": table,
        "model.decoder.embed_positions.weight": random(PLACES, WIDTH, scale=0.5),
    }
    for side in ("encoder", "decoder"):
        for layer in range(2):
            prefix = f"model.{side}.layers.{layer}"
            for attention in ("self_attn", "encoder_attn")[: 1 + (side == "decoder")]:
                for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    tensors[f"{prefix}.{attention}.{name}.weight"] = random(WIDTH, WIDTH, scale=0.4)
                    if name != "k_proj":
                        tensors[f"{prefix}.{attention}.{name}.bias"] = random(WIDTH, scale=0.1)
                tensors |= norm(f"{prefix}.{attention}_layer_norm", random)
            tensors[f"{prefix}.fc1.weight"] = random(24, WIDTH, scale=0.3)
            tensors[f"{prefix}.fc2.weight"] = random(WIDTH, 24, scale=0.3)
            tensors |= {f"{prefix}.fc1.bias": random(24, scale=0.1), f"{prefix}.fc2.bias": random(WIDTH, scale=0.1)}
            tensors |= norm(f"{prefix}.final_layer_norm", random)
        tensors |= norm(f"model.{side}.layer_norm", random)
    return tensors


def norm(name: str, random: Any) -> dict[str, np.ndarray]:
    return {f"{name}.weight": 1 + random(WIDTH, scale=0.1), f"{name}.bias": random(WIDTH, scale=0.1)}


def sound(seed: int, seconds: float) -> np.ndarray:
    """Tones of a quarter of a second, some loud and some soft, over a hiss: (samples,) float32."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    place = (times * 4).astype(int)
    count = int(place.max(initial=0)) + 1
    pitch, loudness = rng.uniform(100, 4000, count), rng.choice([0.02, 0.1, 0.5], count)
    tones = loudness[place] * np.sin(2 * np.pi * pitch[place] * times)
    return (tones + 0.003 * rng.standard_normal(len(times))).astype(np.float32)
