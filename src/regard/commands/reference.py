"""What Transformers computes on PyTorch: `regard verify` hands this file to a Python that has both.

It runs in a process of its own, perhaps in another environment, so it imports nothing of Regard, and nothing of Regard
imports it. Arguments: the model's directory and the generation options as JSON. It reads batch.npz where it starts
(CALL/KEY, in Regard's names and layouts) and writes result.npz beside it.
"""

import json
import sys
from typing import Any

import numpy as np

MISSING = 3  # the exit code where an import fails: stdout says of what
GIVEN = ("logits", "last_hidden_state", "encoder_last_hidden_state", "pooler_output", "start_logits", "end_logits")
PAIR = ("text_embeds", "image_embeds", "logits_per_text", "logits_per_image")


def main(directory: str, options: str) -> None:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.from_pretrained(directory)
    named = (config.architectures or ["AutoModel"])[0]
    kind = getattr(transformers, named, transformers.AutoModel)
    model = kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    calls = batches(torch)
    with torch.no_grad():
        output = model(**calls["forward"], return_dict=True)
        found = {f"forward/{key}": output[key].numpy() for key in (*GIVEN, *PAIR) if output.get(key) is not None}
        if "generate" in calls:
            found["generate"] = generated(model, calls["generate"], json.loads(options))
    about = {"architecture": named, "transformers": transformers.__version__, "torch": torch.__version__}
    np.savez("result.npz", about=np.array(json.dumps(about)), **found)


def batches(torch: Any) -> dict[str, dict[str, Any]]:
    """The batch of each call, in PyTorch's layouts: channels and mels before space and time."""
    found: dict[str, dict[str, Any]] = {}
    with np.load("batch.npz") as arrays:
        for name in arrays.files:
            call, key = name.split("/")
            value = torch.from_numpy(arrays[name])
            if key == "pixel_values":
                value = value.permute(0, 3, 1, 2).contiguous()
            if key == "input_features":
                value = value.permute(0, 2, 1).contiguous()
            found.setdefault(call, {})[key] = value.long() if value.dtype == torch.int32 else value
    return found


def generated(model: Any, batch: dict[str, Any], options: dict[str, Any]) -> np.ndarray:
    """The new tokens of greedy search: (B, T)."""
    config = model.config
    if config.model_type in ("t5", "mt5") and config.num_decoder_layers > config.num_layers:
        options["use_cache"] = False  # their cache has a layer for each of the encoder's, and raises at one more
    if config.model_type == "whisper":
        options["force_unique_generate_call"] = True  # no second window
    rows = model.generate(**batch, **options, do_sample=False, num_beams=1, num_return_sequences=1).numpy()
    first = batch["decoder_input_ids"] if config.is_encoder_decoder else batch["input_ids"]
    return rows[:, first.shape[1] :]


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ModuleNotFoundError as error:
        print(error.name)
        sys.exit(MISSING)
