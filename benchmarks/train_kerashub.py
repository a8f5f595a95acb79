"""KerasHub's layers as a side of benchmarks/train.py: the same network, weights and batch, trained as Keras trains.

A step is `train_on_batch` of a compiled model, with XLA or by Keras's own choice; AdamW clips by the global norm, and
bfloat16 is Keras's policy mixed_bfloat16. KerasHub's layers have no dropout after the activation, so they do a little
less than the other sides.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[], float]  # one training step; its loss
GRAPHS = {"tensorflow": "tf.function"}  # by which a backend compiles where jit_compile is off


def kerashub_side(
    backend: str, dtype: str, jit_compile: str | bool
) -> Callable[[Path, Any], tuple[float, Step, dict[str, Any]]]:
    """jit_compile: as of `keras.Model.compile`. The side gives its loss without dropout, its step, and its settings."""

    def load(directory: Path, size: Any) -> tuple[float, Step, dict[str, Any]]:
        os.environ["KERAS_BACKEND"] = backend
        import keras
        from train_sizes import CLIP, RATE, SMOOTHING, batch_of

        threads = len(os.sched_getaffinity(0))
        if backend == "torch":  # which by itself takes one thread where two share a core
            import torch

            torch.set_num_threads(threads)
        policy = {"bfloat16": "mixed_bfloat16"}.get(dtype, dtype)
        keras.config.set_dtype_policy(policy)
        gpt2 = size.config["model_type"] == "gpt2"
        batch = batch_of(size)
        model = _gpt2(directory) if gpt2 else _translator(directory, size)
        if gpt2:
            inputs = {"token_ids": batch["input_ids"], "padding_mask": batch["attention_mask"]}
            labels = np.concatenate([batch["labels"][:, 1:], np.full_like(batch["labels"][:, :1], -100)], 1)
        else:
            labels, config = batch["labels"], size.config
            begun = np.concatenate([np.full_like(labels[:, :1], config["decoder_start_token_id"]), labels[:, :-1]], 1)
            inputs = {
                "input_ids": batch["input_ids"],
                "attention_mask": batch["attention_mask"],
                "decoder_input_ids": np.where(begun < 0, config["pad_token_id"], begun),
            }

        def loss_of(smoothing: float) -> Callable[[Any, Any], Any]:
            def loss(shown: Any, logits: Any) -> Any:
                ops = keras.ops
                real = ops.cast(shown != -100, "float32")
                each = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
                ids = ops.cast(ops.maximum(shown, 0), "int32")  # Keras hands labels to a loss as floats
                right = ops.take_along_axis(each, ids[..., None], axis=-1)[..., 0]
                smoothed = (1 - smoothing) * right + smoothing * ops.mean(each, axis=-1)
                return -ops.sum(smoothed * real) / ops.sum(real)

            return loss

        model.compile(loss=loss_of(0.0), jit_compile=jit_compile)
        exact = float(model.test_on_batch(inputs, labels))
        optimizer = keras.optimizers.AdamW(RATE, weight_decay=0.01, global_clipnorm=CLIP)
        model.compile(optimizer=optimizer, loss=loss_of(SMOOTHING), jit_compile=jit_compile)

        def one() -> float:
            model.reset_metrics()  # the loss of this step, not the mean of all
            return float(model.train_on_batch(inputs, labels))

        by = {"tensorflow": "XLA", "torch": "torch.compile", "jax": "jax.jit"} if model.jit_compile else GRAPHS
        return exact, one, {"dtype": policy, "threads": threads, "compiled": by.get(backend)}

    return load


def _gpt2(directory: Path) -> Any:
    import keras
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone.from_preset(str(directory))
    logits = backbone.token_embedding(backbone.output, reverse=True)
    return keras.Model(backbone.input, logits)


def _translator(directory: Path, size: Any) -> Any:
    import keras
    from keras_hub.layers import ReversibleEmbedding, TransformerDecoder, TransformerEncoder
    from train_sizes import DROPOUT

    config = size.config
    width, heads, depth = config["d_model"], config["encoder_attention_heads"], config["encoder_layers"]
    own = {"intermediate_dim": 4 * width, "num_heads": heads, "dropout": DROPOUT, "activation": "relu"}
    angles = np.arange(512)[:, None] / 10000 ** (2 * np.arange(width // 2) / width)
    places = np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)[: size.length]
    table = ReversibleEmbedding(config["vocab_size"], width, tie_weights=True)
    dropout = keras.layers.Dropout(DROPOUT)
    ids, mask, begun = (
        keras.Input((size.length,), dtype="int32", name=name)
        for name in ("input_ids", "attention_mask", "decoder_input_ids")
    )

    def embed(tokens: Any) -> Any:
        return dropout(table(tokens) * width**0.5 + places)

    hidden, encoder, decoder = embed(ids), [], []
    for _ in range(depth):
        encoder.append(TransformerEncoder(**own))
        hidden = encoder[-1](hidden, padding_mask=mask)
    written = embed(begun)
    for _ in range(depth):
        decoder.append(TransformerDecoder(**own))
        written = decoder[-1](written, hidden, encoder_padding_mask=mask)
    model = keras.Model([ids, mask, begun], table(written, reverse=True))
    _fill(directory, table, {"encoder": encoder, "decoder": decoder}, heads)
    return model


def _fill(directory: Path, table: Any, layers: dict[str, list[Any]], heads: int) -> None:
    """Marian's tensors in the order in which KerasHub's layers have their weights."""
    from safetensors.numpy import load_file

    saved = load_file(directory / "model.safetensors")
    table.embeddings.assign(saved["model.shared.weight"])
    for side, own in layers.items():
        for number, layer in enumerate(own):
            name = f"model.{side}.layers.{number}."
            for variable in layer.weights:
                variable.assign(_tensor(saved, name, variable.path.split("/")[-3:], variable.shape))


def _tensor(saved: dict[str, np.ndarray], layer: str, path: list[str], shape: tuple[int, ...]) -> np.ndarray:
    kind = {"kernel": "weight", "gamma": "weight"}.get(path[-1], "bias")
    part = path[-2]
    attentions = {"self_attention": "self_attn", "self_attention_layer": "self_attn", "cross_attention": "encoder_attn"}
    projections = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "attention_output": "out_proj"}
    others = {
        "self_attention_layer_norm": "self_attn_layer_norm",
        "cross_attention_layer_norm": "encoder_attn_layer_norm",
        "feedforward_layer_norm": "final_layer_norm",
        "feedforward_intermediate_dense": "fc1",
        "feedforward_output_dense": "fc2",
    }
    named = f"{attentions[path[-3]]}.{projections[part]}" if part in projections else others[part]
    tensor = saved[f"{layer}{named}.{kind}"]
    return (tensor.T if kind == "weight" and tensor.ndim == 2 else tensor).reshape(shape)
