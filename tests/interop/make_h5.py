"""Write h5/CASE.h5 as Transformers wrote it for TensorFlow, from the checkpoints of tests/parity/cases.

It needs an environment of its own, with what TensorFlow's classes last ran on: `pip install transformers==4.49.0
tensorflow-cpu tf_keras`. Their library reads the safetensors file and writes tf_model.h5; no number is made anew.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import transformers

HERE = Path(__file__).parent
CASES = HERE.parent / "parity" / "cases"
NAMES = (
    "bart-seq2seq-scaled",
    "bert-masked-lm",
    "clip-similarity",
    "gpt2-language-model-n-inner",
    "mistral-sequence-class",
    "t5-v11-seq2seq-4x",
    "vision-encoder-decoder-captioning",
    "whisper-transcription",
)


def write(case: str) -> None:
    config = transformers.AutoConfig.from_pretrained(CASES / case)
    model = getattr(transformers, f"TF{config.architectures[0]}").from_pretrained(CASES / case)
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory, safe_serialization=False)
        shutil.copy(Path(directory) / "tf_model.h5", HERE / "h5" / f"{case}.h5")


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        write(name)
