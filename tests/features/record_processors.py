"""Records what Transformers' image processors (on Pillow) and its Whisper feature extractor give: processors.npz.

Needs the extra `oracle`, Pillow and torch. From the root: python tests/features/record_processors.py
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import WhisperFeatureExtractor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

CLASSES = {"ViT": ViTImageProcessorPil, "DeiT": DeiTImageProcessorPil, "CLIP": CLIPImageProcessorPil}

IMAGES = {
    "vit_old": {"feature_extractor_type": "ViTFeatureExtractor", "size": 12, "resample": 2, "do_normalize": True},
    "vit_new": {"image_processor_type": "ViTImageProcessor", "size": {"height": 11, "width": 15}, "resample": 0},
    "vit_nulls": {"image_processor_type": "ViTImageProcessorFast", "size": 9, "do_convert_rgb": None, "resample": 4},
    "deit_old": {"feature_extractor_type": "DeiTFeatureExtractor", "size": 16, "crop_size": 11, "resample": 3},
    "deit_black_border": {"image_processor_type": "DeiTImageProcessor", "size": 8, "crop_size": [5, 13], "resample": 1},
    "clip_old": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 13, "crop_size": 12, "resample": 3},
    "clip_new": {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 14},
        "crop_size": {"height": 12, "width": 9},
        "rescale_factor": 0.005,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.2, 0.3],
        "resample": 5,
    },
    "clip_bare": {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": False,
        "do_normalize": False,
        "crop_size": 7,
    },
}

WHISPER = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80}
SMALL_WHISPER = {
    **WHISPER,
    "feature_size": 20,
    "n_fft": 128,
    "hop_length": 50,
    "chunk_length": 1,
    "sampling_rate": 8000,
}
KEPT_FRAMES = np.r_[0:120:6, 120:3000:400]  # of the 3000; from frame 101 on all is silence


def picture(height: int, width: int) -> np.ndarray:
    """A gradient, a disc and a grid: smooth parts, edges and detail."""
    y, x = np.mgrid[:height, :width]
    disc = ((y - height / 2) ** 2 + (x - width / 3) ** 2 < (min(height, width) / 4) ** 2) * 90
    return np.stack([y * 255 // height, x * 255 // width, (y // 2 + x // 3) % 2 * 120 + disc], -1).astype(np.uint8)


def glide(samples: int, rate: int) -> np.ndarray:
    """A voice-like sound, int16: gliding harmonics, with pauses."""
    seconds = np.arange(samples) / rate
    phase = 2 * np.pi * (140 * seconds + 60 * seconds**2)
    voice = sum(np.sin(k * phase) / k for k in range(1, 12))
    return np.int16(8000 * voice * np.clip(np.sin(2 * np.pi * 3 * seconds), 0, 1))


def main() -> None:
    rgb, tall = picture(27, 38), picture(40, 23)
    alpha = np.dstack([rgb, np.mgrid[:27, :38].sum(0).astype(np.uint8) * 4])
    sound = glide(16_000, 16_000)
    found = {"rgb": rgb, "tall": tall, "alpha": alpha, "sound": sound}
    for name, config in IMAGES.items():
        kind = next(kind for kind in CLASSES if name.startswith(kind.lower()))
        processor = CLASSES[kind](**config)
        for input_name in ("rgb", "tall", "alpha") if kind == "CLIP" else ("rgb", "tall"):
            pixels = processor(Image.fromarray(found[input_name]), return_tensors="np")["pixel_values"]
            found[f"image/{name}/{input_name}"] = pixels.transpose(0, 2, 3, 1)
    speech = np.float32(sound / 32768)
    whole = WhisperFeatureExtractor(**WHISPER)(speech, sampling_rate=16_000, return_tensors="np")
    found["audio/kept_frames"] = whole["input_features"][0].T[KEPT_FRAMES]
    small = WhisperFeatureExtractor(**SMALL_WHISPER)
    found["audio/first_second"] = small(speech, sampling_rate=8000, return_tensors="np")["input_features"][0].T
    options = {"truncation": False, "padding": "longest", "sampling_rate": 8000, "return_tensors": "np"}
    found["audio/all_of_it"] = small(speech[:13_370], **options)["input_features"][0].T
    configs = {"images": IMAGES, "whisper": WHISPER, "small_whisper": SMALL_WHISPER, "kept": KEPT_FRAMES.tolist()}
    np.savez_compressed(Path(__file__).with_name("processors.npz"), configs=json.dumps(configs), **found)


if __name__ == "__main__":
    main()
