"""Files as other releases wrote them: old names, copies of tied tensors, prefixes or none, shards, half precision."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from oracle.case import Case
from oracle.decoders import CASES as DECODERS
from oracle.encoders import CASES as ENCODERS
from oracle.seq2seq import CASES as SEQ2SEQ

Tensors = dict[str, torch.Tensor]
BY_NAME = {case.name: case for case in (*ENCODERS, *DECODERS, *SEQ2SEQ)}


def rewritten(change: Callable[[Tensors], Tensors]) -> Callable[[Path], None]:
    """An edit of the file's tensors."""

    def edit(directory: Path) -> None:
        path = directory / "model.safetensors"
        save_file({name: tensor.clone() for name, tensor in change(load_file(path)).items()}, path, {"format": "pt"})

    return edit


def like(model: str, name: str, notes: str, **fields) -> Case:
    return replace(
        BY_NAME[model], **{"name": name, "notes": notes, "suite": "", "record": None, "brief": True, **fields}
    )


def gamma_beta(tensors: Tensors) -> Tensors:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return {renamed(name, old): tensor for name, tensor in tensors.items()}


def renamed(name: str, endings: dict[str, str]) -> str:
    for new, old in endings.items():
        if name.endswith(new):
            return name.removesuffix(new) + old
    return name


def pretraining(tensors: Tensors) -> Tensors:
    """bert-base-uncased as published: the heads of its pre-training, and a buffer of positions."""
    width = tensors["bert.embeddings.word_embeddings.weight"].shape[1]
    more = {
        "bert.embeddings.position_ids": torch.arange(24)[None],
        "bert.pooler.dense.weight": torch.full((width, width), 0.1),
        "bert.pooler.dense.bias": torch.full((width,), 0.1),
        "cls.seq_relationship.weight": torch.full((2, width), 0.1),
        "cls.seq_relationship.bias": torch.full((2,), 0.1),
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
    }
    return {**gamma_beta(tensors), **more}


def roberta_copies(tensors: Tensors) -> Tensors:
    return {
        **tensors,
        "lm_head.decoder.weight": tensors["roberta.embeddings.word_embeddings.weight"],
        "lm_head.decoder.bias": tensors["lm_head.bias"],
        "roberta.embeddings.position_ids": torch.arange(24)[None],
    }


def distilbert_copies(tensors: Tensors) -> Tensors:
    return {**tensors, "vocab_projector.weight": tensors["distilbert.embeddings.word_embeddings.weight"]}


def bare_gpt2(tensors: Tensors) -> Tensors:
    """gpt2 as published: no prefix though the config says GPT2LMHeadModel, and the masks of its attention."""
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    return {**bare, **{f"h.{i}.attn.bias": torch.ones(1, 1, 32, 32).tril() for i in range(2)}}


def t5_copies(tensors: Tensors) -> Tensors:
    """t5-small as published: the table three times more, and a relative bias that nothing reads."""
    tables = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    return {**tensors, **dict.fromkeys(tables, tensors["shared.weight"]), unread: torch.full((8, 3), 0.5)}


def marian_copies(tensors: Tensors) -> Tensors:
    """opus-mt as published: copies of the table, and the sinusoids."""
    tables = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
    shared, width = tensors["model.shared.weight"], tensors["model.shared.weight"].shape[1]
    rates = 10000.0 ** (-2 * torch.arange(width // 2, dtype=torch.float64) / width)
    angles = torch.arange(20, dtype=torch.float64)[:, None] * rates
    sinusoids = torch.cat([angles.sin(), angles.cos()], 1).float()
    positions = {f"model.{side}.embed_positions.weight": sinusoids for side in ("encoder", "decoder")}
    return {**tensors, **dict.fromkeys(tables, shared), **positions}


def t5_config(directory: Path) -> None:
    """The spelling of 4.x for an original T5, with what else its configs hold."""
    rewritten(t5_copies)(directory)
    path = directory / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for key in ("scale_decoder_outputs", "dense_act_fn", "is_gated_act", "tie_word_embeddings", "feed_forward_proj"):
        del config[key]
    config |= {"n_positions": 512, "task_specific_params": {"translation": {"prefix": "translate: ", "num_beams": 4}}}
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def sharded(directory: Path) -> None:
    """Three files and an index."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {name: f"model-{1 + 3 * i // len(names):05d}-of-00003.safetensors" for i, name in enumerate(names)}
    for file in sorted(set(files.values())):
        save_file({name: tensors[name] for name in names if files[name] == file}, directory / file, {"format": "pt"})
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": files}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


CASES = [
    like("bert-masked-lm", "legacy-bert-gamma-beta", "norms are gamma and beta", edit=rewritten(gamma_beta)),
    like("bert-masked-lm", "legacy-bert-pretraining", "as bert-base-uncased is published", edit=rewritten(pretraining)),
    like("roberta-masked-lm", "legacy-roberta-copies", "tied copies and position_ids", edit=rewritten(roberta_copies)),
    like("distilbert-masked-lm", "legacy-distilbert-copies", "a tied copy", edit=rewritten(distilbert_copies)),
    like("gpt2-language-model", "legacy-gpt2-bare", "as gpt2 is published", edit=rewritten(bare_gpt2)),
    like("t5-seq2seq", "legacy-t5-copies", "as t5-small is published", edit=t5_config),
    like("marian-seq2seq", "legacy-marian-copies", "as opus-mt is published", edit=rewritten(marian_copies)),
    like("gpt2-language-model", "sharded-gpt2", "three files and an index", edit=sharded),
    like("bart-seq2seq", "float16-bart", "stored in float16, computed in float32", stored="float16"),
    like("llama-language-model", "bfloat16-llama", "stored in bfloat16, computed in float32", stored="bfloat16"),
]
