"""ViT, DeiT, CLIP, and ViT with GPT-2 as a captioner."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from oracle.case import Case, Model, Randomness, labelled

VIT = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 19,
    "image_size": 12,
    "patch_size": 4,
    "layer_norm_eps": 1e-2,
}
TEXT = {
    "vocab_size": 67,
    "hidden_size": 12,
    "intermediate_size": 19,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 16,
    "layer_norm_eps": 1e-2,
    "bos_token_id": 59,
    "eos_token_id": 60,
    "pad_token_id": 1,
}
SMALL = Randomness(embedding=0.3)


def image(family: str, name: str, head: str, architecture: str, changes: dict[str, Any], **fields: Any) -> Case:
    return Case(
        name=f"{family}-{name}",
        family=family,
        head=head,
        form="image",
        architecture=architecture,
        config={**VIT, **changes},
        **{"random": SMALL, **fields},
    )


def of_vit() -> list[Case]:
    classes = {**labelled(5), "qkv_bias": False, "hidden_act": "relu"}
    wide = {"image_size": [8, 12], "patch_size": 4, "hidden_act": "gelu_new"}
    return [
        image("vit", "bare", "bare", "ViTModel", wide, image=(8, 12, 3), notes="with pooler; the image is not square"),
        image(
            "vit",
            "bare-no-pooler",
            "bare",
            "ViTModel",
            {"num_channels": 1, "patch_size": 3},
            image=(12, 12, 1),
            options={"add_pooling_layer": False},
            notes="one channel; the config does not say that there is no pooler; the tensors do",
        ),
        image("vit", "image-class", "image-class", "ViTForImageClassification", classes, notes="no biases on q, k, v"),
    ]


def of_deit() -> list[Case]:
    classes = {**labelled(5), "num_hidden_layers": 3}
    both = {**labelled(4), "qkv_bias": False}
    teacher = "DeiTForImageClassificationWithTeacher"
    return [
        image("deit", "bare", "bare", "DeiTModel", {"patch_size": 6}, notes="with pooler"),
        image("deit", "image-class", "image-class", "DeiTForImageClassification", classes),
        image(
            "deit", "image-class-teacher", "image-class", teacher, both, labels="none", notes="the mean of two heads"
        ),
    ]


def of_clip() -> list[Case]:
    vision = {**VIT, "hidden_size": 15, "num_attention_heads": 5, "intermediate_size": 21, "num_hidden_layers": 3}
    clip = Case(
        name="clip-similarity",
        family="clip",
        head="similarity",
        form="pair",
        architecture="CLIPModel",
        config={"text_config": TEXT, "vision_config": vision, "projection_dim": 9},
        random=SMALL,
        notes="texts are read at eos; towers of two widths and depths; an image less than texts",
    )
    legacy = {"text_config": {**TEXT, "eos_token_id": 2, "pad_token_id": 0}}
    filled = {"text_config": {**TEXT, "pad_token_id": 60, "hidden_act": "gelu"}}
    return [
        clip,
        clip.varied(
            "legacy-eos",
            "eos_token_id is 2: texts are read at their highest id; position_ids in the file, as once was",
            legacy,
            edit=as_published,
        ),
        clip.varied("pad-eos", "texts are filled with eos, and read at the first; gelu for texts alone", filled),
    ]


def as_published(directory: Path) -> None:
    """CLIP's first checkpoints: buffers of positions in the file, and keys without meaning in the config."""
    tensors = load_file(directory / "model.safetensors")
    for tower in ("text_model.embeddings.position_embedding", "vision_model.embeddings.position_embedding"):
        count = len(tensors[f"{tower}.weight"])
        tensors[f"{tower.rsplit('.', 1)[0]}.position_ids"] = torch.arange(count)[None]
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    path = directory / "config.json"
    config = {**json.loads(path.read_text("utf-8")), "text_config_dict": None, "vision_config_dict": None}
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def captioner(case: Case) -> Model:
    """Its encoder has a pooler that nothing reads, as AutoModel gives it one."""
    encoder = transformers.ViTConfig(**case.config["encoder"])
    decoder = transformers.GPT2Config(**case.config["decoder"], is_decoder=True, add_cross_attention=True)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.tie_word_embeddings = False  # the decoder's own config ties
    model = transformers.VisionEncoderDecoderModel(config)
    for key in ("pad_token_id", "eos_token_id", "decoder_start_token_id"):
        setattr(model.config, key, case.config[key])
        setattr(model.generation_config, key, case.config[key])
    return model


def turned(model: Model) -> None:
    """Half of the last norm turned around: the tied head would else say again what the decoder has just read."""
    model.decoder.transformer.ln_f.weight[::2] *= -1


def of_captioning() -> list[Case]:
    encoder = {**VIT, "image_size": 8}
    ids = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 1}
    decoder = {"vocab_size": 67, "n_embd": 15, "n_layer": 2, "n_head": 5, "n_positions": 20, "n_inner": 31}
    decoder |= {"layer_norm_epsilon": 1e-2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    captioning = Case(
        name="vision-encoder-decoder-captioning",
        family="vision-encoder-decoder",
        head="seq2seq",
        form="captioning",
        architecture="VisionEncoderDecoderModel",
        config={"vocab_size": 67, "encoder": encoder, "decoder": decoder, **ids},
        random=Randomness(gain=0.9, embedding=0.5, table=1.2, eos=1.8),
        notes="encoder_last_hidden_state is that before enc_to_dec_proj, which the unequal widths need",
        suite="full",
        build=captioner,
        prepare=turned,
        image=(8, 8, 3),
    )
    equal = {"decoder": {**decoder, "n_embd": 12, "n_head": 3}, "encoder": {**encoder, "qkv_bias": False}}
    return [
        captioning,
        replace(captioning, suite="short").varied(
            "equal",
            "equal widths, so no enc_to_dec_proj; the tied head is in the file, and masks, but no pooler",
            equal,
            edit=with_copies,
            absent=("encoder.pooler.",),
        ),
    ]


def with_copies(directory: Path) -> None:
    """What older releases saved as well: the tied head, and GPT-2's masks."""
    saved = load_file(directory / "model.safetensors")
    tensors = {name: tensor for name, tensor in saved.items() if not name.startswith("encoder.pooler.")}
    tensors["decoder.lm_head.weight"] = tensors["decoder.transformer.wte.weight"].clone()
    for layer in range(2):
        for part in ("attn", "crossattention"):
            stem = f"decoder.transformer.h.{layer}.{part}"
            tensors[f"{stem}.bias"] = torch.ones(1, 1, 20, 20, dtype=torch.uint8).tril()
            tensors[f"{stem}.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})


CASES = [*of_vit(), *of_deit(), *of_clip(), *of_captioning()]
