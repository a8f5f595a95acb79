"""Random batches, a call each: plain, padded right, padded left, with labels. Regard's names and layouts, int32."""

import numpy as np

from oracle.case import Arrays, Case

IGNORED = -100
LENGTHS = (9, 6, 3)  # of padded rows
TARGET_LENGTHS = (6, 4, 2)


def calls(case: Case, rng: np.random.Generator) -> dict[str, Arrays]:
    """The inputs of each call, by the call's name."""
    found = {"plain": side_by_side(case, rng, None)}
    if case.head not in ("bare", "similarity") and case.labels != "none":
        found["loss"] = with_labels(case, rng)
    if case.form != "image" and not case.brief:
        found["right"] = padded = side_by_side(case, rng, LENGTHS)
        found["left"] = {key: moved_left(key, padded) for key in padded}
    return found


def side_by_side(case: Case, rng: np.random.Generator, lengths: tuple[int, ...] | None) -> Arrays:
    """Everything that the form reads, but labels: two rows of one length, or one row for each of `lengths`."""
    rows = 2 if lengths is None else len(lengths)
    batch = source(case, rng, lengths or (7, 7))
    if case.form in ("encoder-decoder", "audio", "captioning"):
        batch |= texts(case, rng, (5, 5) if lengths is None else TARGET_LENGTHS[:rows], "decoder_")
    if lengths is None:
        batch = {key: value for key, value in batch.items() if not key.endswith("attention_mask")}
    return batch


def source(case: Case, rng: np.random.Generator, lengths: tuple[int, ...]) -> Arrays:
    """What the encoder, or the decoder alone, reads."""
    if case.form in ("image", "captioning"):
        return {"pixel_values": pixels(case, rng, len(lengths))}
    if case.form == "audio":
        return {"input_features": features(case, rng, len(lengths))}
    batch = texts(case, rng, lengths)
    if case.form == "pair":
        batch["input_ids"] = ended(batch["input_ids"], lengths, case.config["text_config"]["eos_token_id"], case)
        batch["pixel_values"] = pixels(case, rng, len(lengths) - 1 or 1)  # not as many images as texts
    if case.config.get("type_vocab_size", 1) > 1:
        kinds = rng.integers(0, case.config["type_vocab_size"], batch["input_ids"].shape)
        batch["token_type_ids"] = kinds.astype("int32") * batch["attention_mask"]
    return batch


def texts(case: Case, rng: np.random.Generator, lengths: tuple[int, ...], side: str = "") -> Arrays:
    """Rows of ordinary ids, padded right."""
    shape = (len(lengths), max(lengths))
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype("int32")
    ids = rng.integers(*case.ordinary, shape).astype("int32")
    return {f"{side}input_ids": np.where(mask, ids, pad_of(case)), f"{side}attention_mask": mask}


def pad_of(case: Case) -> np.int32:
    pad = case.config.get("text_config", case.config).get("pad_token_id")
    return np.int32(case.ordinary[0] if pad is None else pad)


def ended(ids: np.ndarray, lengths: tuple[int, ...], eos: int, case: Case) -> np.ndarray:
    """CLIP reads a text at its end: the eos, which for old configs (eos 2) is the highest id of all."""
    ended = ids.copy()
    ended[np.arange(len(lengths)), np.array(lengths) - 1] = case.vocab_size - 1 if eos == 2 else eos
    return ended


def pixels(case: Case, rng: np.random.Generator, rows: int) -> np.ndarray:
    shades = rng.normal(size=(rows, 1, 1, case.image[-1]))  # images differ in more than noise
    return (shades + rng.normal(size=(rows, *case.image))).astype("float32")


def features(case: Case, rng: np.random.Generator, rows: int) -> np.ndarray:
    frames, mels = 2 * case.config["max_source_positions"], case.config["num_mel_bins"]
    voices = rng.normal(size=(rows, 1, mels))  # so do sounds
    return (voices + rng.normal(size=(rows, frames, mels))).astype("float32")


def moved_left(key: str, padded: Arrays) -> np.ndarray:
    """A right-padded array with its real tokens at the end of each row."""
    value = padded[key]
    mask = mask_for(key, padded)
    if mask is None:
        return value
    return np.stack([np.roll(row, int((real == 0).sum()), axis=0) for row, real in zip(value, mask, strict=True)])


def mask_for(key: str, batch: Arrays) -> np.ndarray | None:
    """The mask of the side that the input `key` belongs to; None where it is of no side, or nothing is padded."""
    if key in ("pixel_values", "input_features", "labels"):
        return None
    return batch.get("decoder_attention_mask" if key.startswith("decoder_") else "attention_mask")


def with_labels(case: Case, rng: np.random.Generator) -> Arrays:
    """A batch with what its loss is measured against."""
    if case.form in ("encoder-decoder", "audio", "captioning"):
        batch = source(case, rng, LENGTHS)
        return {**batch, "labels": targets(case, rng)}
    if case.form == "image":
        labels = rng.integers(0, len(case.config.get("id2label", "ab")), 2)
        return {**source(case, rng, (1, 1)), "labels": labels.astype("int32")}
    if case.head == "question-answering":
        # Transformers' loss runs over padding too, so nothing is padded here.
        spans = {"start_positions": np.array([2, 0, 6], "int32"), "end_positions": np.array([4, 0, 6], "int32")}
        batch = source(case, rng, (7, 7, 7))
        return {key: value for key, value in batch.items() if key != "attention_mask"} | spans
    batch = source(case, rng, LENGTHS)
    return batch | text_labels(case, rng, batch)


def targets(case: Case, rng: np.random.Generator) -> np.ndarray:
    """Token ids to generate: padded by ignored labels, and one in the middle where the family can say so."""
    target = texts(case, rng, TARGET_LENGTHS, "decoder_")
    labels = np.where(target["decoder_attention_mask"], target["decoder_input_ids"], IGNORED)
    if case.hole:
        labels[0, 2] = IGNORED
    return labels.astype("int32")


def text_labels(case: Case, rng: np.random.Generator, batch: Arrays) -> Arrays:
    ids, mask = batch["input_ids"], batch["attention_mask"]
    count = len(case.config.get("id2label", ())) or 2
    if case.head == "sequence-class":
        return {"labels": classes(case.labels, count, len(ids), rng)}
    if case.head == "token-class":
        labels = np.where(mask, rng.integers(0, count, ids.shape), IGNORED)
        labels[0, 3] = IGNORED
    elif case.head == "masked-lm":
        chosen = (rng.random(ids.shape) < 0.4) & (mask == 1)
        chosen[:, 1] = True
        labels = np.where(chosen, rng.integers(*case.ordinary, ids.shape), IGNORED)
    else:
        labels = np.where(mask, ids, IGNORED)
        labels[0, :3] = IGNORED  # a prompt
        labels[1, 3] = IGNORED
    return {"labels": labels.astype("int32")}


def classes(problem: str, count: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    if problem == "regression":
        return rng.normal(size=(rows,)).astype("float32")
    if problem == "multi":
        return rng.integers(0, 2, (rows, count)).astype("float32")
    return rng.integers(0, count, rows).astype("int32")
