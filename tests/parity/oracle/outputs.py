"""What Transformers computes for a batch in Regard's names and layouts."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from oracle.case import Arrays, Case, Model, Unfit
from oracle.inputs import mask_for

PLAIN = ("logits", "loss", "pooler_output", "start_logits", "end_logits", "encoder_last_hidden_state")
PAIR = ("logits_per_image", "logits_per_text", "image_embeds", "text_embeds")
ATTENTIONS = {
    "attentions": "attentions",
    "decoder_attentions": "attentions",
    "cross_attentions": "cross_attentions",
    "encoder_attentions": "encoder_attentions",
}
CLOSE = 1e-5  # the same number by another order of operations; weights that amplify rounding more are not used
WRONG = 1e-3  # no rounding


def record(case: Case, model: Model, batches: dict[str, Arrays]) -> dict[str, Arrays]:
    """The outputs of each call, by the call's name."""
    found: dict[str, Arrays] = {}
    for call, batch in batches.items():
        if call == "left":
            found[call] = unpadded(case, model, batch)
            if case.form == "decoder":
                agree(case, found[call], forward(model, counted(batch)), batch)
        else:
            found[call] = forward(
                model, batch, attention=call == "plain" and case.suite != "short", hidden=call != "loss"
            )
        if call == "right":
            agree(case, unpadded(case, model, batch), found[call], batch)
            found[call] = {key: blanked(case, key, value, batch) for key, value in found[call].items()}
    return found


def pooled(case: Case, found: dict[str, Arrays], batches: dict[str, Arrays], directory: Path) -> None:
    """Add each call's sentence embeddings, where the case has them."""
    for call, values in found.items() if case.pool is not None else ():
        hidden = values["last_hidden_state"]
        mask = batches[call].get("attention_mask", np.ones(hidden.shape[:2], "int32"))
        values["sentence_embedding"] = case.pool(hidden, mask, directory)


@torch.no_grad()
def forward(model: Model, batch: Arrays, attention: bool = False, hidden: bool = True) -> Arrays:
    """One call of the model."""
    trunk = (model.get_decoder() if model.config.is_encoder_decoder else model).base_model
    last: list[torch.Tensor] = []
    hook = trunk.register_forward_hook(lambda module, inputs, output: last.append(output[0]))
    output = model(**as_torch(batch), output_attentions=attention or None, return_dict=True)
    hook.remove()
    found = {key: output[key] for key in (*PLAIN, *PAIR) if output.get(key) is not None}
    if hidden and "logits_per_image" not in found:
        found["last_hidden_state"] = last[-1]
    if not hidden:
        found = {key: value for key, value in found.items() if key in ("loss", "logits", "start_logits", "end_logits")}
    arrays = {key: value.numpy().astype("float32") for key, value in found.items()}
    return arrays | attentions(output)


def attentions(output: Any) -> Arrays:
    """Each layer's attention under Regard's name: `attentions` are the decoder's where there is one."""
    named = {theirs: output.get(theirs) for theirs in ATTENTIONS}
    return {
        f"{ATTENTIONS[theirs]}_{i}": layer.numpy()
        for theirs, layers in named.items()
        for i, layer in enumerate(layers or ())
    }


def as_torch(batch: Arrays) -> dict[str, torch.Tensor]:
    """Transformers' layouts: channels and mels before space and time; indices of 64 bits."""
    tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in batch.items()}
    if "pixel_values" in tensors:
        tensors["pixel_values"] = tensors["pixel_values"].permute(0, 3, 1, 2).contiguous()
    if "input_features" in tensors:
        tensors["input_features"] = tensors["input_features"].permute(0, 2, 1).contiguous()
    return {key: value.long() if value.dtype == torch.int32 else value for key, value in tensors.items()}


def counted(batch: Arrays) -> Arrays:
    """The batch with positions that skip padding, as Regard counts them and `generate` does."""
    return {**batch, "position_ids": np.maximum(batch["attention_mask"].cumsum(1) - 1, 0).astype("int32")}


def unpadded(case: Case, model: Model, batch: Arrays) -> Arrays:
    """Each row computed alone without its padding, put back at its real tokens; zeros at padding."""
    if case.form == "pair":
        return unpadded_pair(case, model, batch)
    rows = [forward(model, row_of(batch, i)) for i in range(len(next(iter(batch.values()))))]
    found = {}
    for key in rows[0]:
        mask = output_mask(case, key, batch)
        values = [row[key][0] for row in rows]
        found[key] = np.stack(values if mask is None else list(map(scattered, values, mask)))
    return found


def unpadded_pair(case: Case, model: Model, batch: Arrays) -> Arrays:
    """CLIP's texts one by one beside all images."""
    text = ("input_ids", "attention_mask")
    count = len(batch["input_ids"])
    alone = [row_of({key: batch[key] for key in text}, i) for i in range(count)]
    rows = [forward(model, {**row, "pixel_values": batch["pixel_values"]}) for row in alone]
    joined = {key: np.concatenate([row[key] for row in rows]) for key in ("text_embeds", "logits_per_text")}
    return {**joined, "image_embeds": rows[0]["image_embeds"], "logits_per_image": joined["logits_per_text"].T.copy()}


def row_of(batch: Arrays, row: int) -> Arrays:
    """One row, of one length, without masks."""
    found = {}
    for key, value in batch.items():
        mask = mask_for(key, batch)
        if not key.endswith("attention_mask"):
            found[key] = value[row : row + 1] if mask is None else value[row : row + 1, mask[row] == 1]
    return found


def scattered(value: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(t, ...) at the t ones of a mask (T,)."""
    placed = np.zeros((len(mask), *value.shape[1:]), value.dtype)
    placed[mask == 1] = value
    return placed


def output_mask(case: Case, key: str, batch: Arrays) -> np.ndarray | None:
    """The mask of the tokens that the output `key` has one entry for; None where it has one a row."""
    if key in ("pooler_output", "loss", *PAIR) or (key == "logits" and not case.by_token):
        return None
    has_decoder = "decoder_input_ids" in batch
    side = "decoder_" if has_decoder and key != "encoder_last_hidden_state" else ""
    return batch.get(f"{side}attention_mask")


def blanked(case: Case, key: str, value: np.ndarray, batch: Arrays) -> np.ndarray:
    """Zeros at padding, where nothing is compared."""
    mask = output_mask(case, key, batch)
    if mask is None:
        return value
    real = mask.astype(value.dtype)
    return value * (real[:, :, None] if value.ndim == 3 else real)


def agree(case: Case, alone: Arrays, together: Arrays, batch: Arrays) -> None:
    """Transformers itself must not care about padding, or the case would ask for what nobody computes."""
    for key, value in alone.items():
        apart = np.abs(value - blanked(case, key, together[key], batch)).max()
        if not apart < WRONG:
            raise AssertionError(f"{case.name}: {key} of padded rows is {apart} away from that of single rows")
        if not apart < CLOSE:
            raise Unfit(f"{key} of padded rows is {apart} away from that of single rows")
