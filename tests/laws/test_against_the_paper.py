"""Our network against a naive one that is written from the paper's equations alone (naive_transformer.py)."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from regard.models.forms import build_model
from regard.nn.losses import cross_entropy

_found = importlib.util.spec_from_file_location("naive_transformer", Path(__file__).with_name("naive_transformer.py"))
naive = importlib.util.module_from_spec(_found)
_found.loader.exec_module(naive)


def parameters_of(model, dtype):
    """Our variables under the paper's symbols."""
    weights = {variable.path: np.asarray(variable.value).astype(dtype) for variable in model.variables}
    heads = model.spec.encoder.layer.heads

    def per_head(matrix):
        return np.stack(np.split(matrix, heads, axis=-1))

    def attention(path):
        def projections(kind):
            if path.endswith("self_attention"):
                return np.split(weights[f"{path}/query_key_value/{kind}"], 3, -1)
            return [weights[f"{path}/query/{kind}"], *np.split(weights[f"{path}/key_value/{kind}"], 2, -1)]

        kernels = dict(zip(("W_Q", "W_K", "W_V"), map(per_head, projections("kernel")), strict=True))
        biases = dict(zip(("b_Q", "b_K", "b_V"), map(per_head, projections("bias")), strict=True))
        return {**kernels, **biases, "W_O": weights[f"{path}/output/kernel"], "b_O": weights[f"{path}/output/bias"]}

    def norm(path):
        return {"gamma": weights[f"{path}/scale"], "beta": weights[f"{path}/bias"]}

    def layer(path, crossed):
        up, down = f"{path}/feed_forward/up", f"{path}/feed_forward/down"
        parts = {
            "self_attention": attention(f"{path}/self_attention"),
            "norm_1": norm(f"{path}/self_attention_norm"),
            "norm_3": norm(f"{path}/feed_forward_norm"),
            "feed_forward": {
                "W_1": weights[f"{up}/kernel"],
                "b_1": weights[f"{up}/bias"],
                "W_2": weights[f"{down}/kernel"],
                "b_2": weights[f"{down}/bias"],
            },
        }
        if crossed:
            parts |= {"cross_attention": attention(f"{path}/cross_attention")}
            parts |= {"norm_2": norm(f"{path}/cross_attention_norm")}
        return parts

    sides = {
        side: [layer(f"{side}/layer_{i}", side == "decoder") for i in range(getattr(model.spec, side).depth)]
        for side in ("encoder", "decoder")
    }
    last = {f"{side}_norm": norm(f"{side}/final_norm") for side in sides if getattr(model.spec, side).final_norm}
    return {"E": weights["encoder/embedding/table"], **sides, **last}


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-7)])
@pytest.mark.parametrize(
    ("activation", "layout"),
    [("relu", "interleaved"), ("gelu", "halves"), ("gelu_tanh", "interleaved"), ("silu", "halves")],
)
@pytest.mark.parametrize("order", ["post", "pre"])
def test_logits_attention_and_loss_equal_the_papers(tiny, order, activation, layout, dtype, bound):
    spec = tiny.spec("encoder-decoder", order, activation=activation)
    positions = replace(spec.embedding.positions, layout=layout)
    embedding = replace(spec.embedding, positions=positions, scale=activation != "silu")
    epsilon = 0.1 if activation == "gelu" else 1e-5
    sides = {
        side: replace(getattr(spec, side), layer=replace(getattr(spec, side).layer, norm_epsilon=epsilon))
        for side in ("encoder", "decoder")
    }
    model = tiny.shake(build_model(replace(spec, embedding=embedding, **sides), dtype))
    rng = np.random.default_rng(4)
    source, target = rng.integers(0, 22, (3, 7)), rng.integers(0, 22, (3, 5))
    source_real, target_real = np.ones((3, 7), int), np.ones((3, 5), int)
    source_real[1, 4:] = source_real[2, :3] = target_real[0, 3:] = 0
    source[source_real == 0] = target[target_real == 0] = 22
    labels = np.where(target_real, rng.integers(0, 22, (3, 5)), -100)

    batch = {"input_ids": source, "attention_mask": source_real}
    batch |= {"decoder_input_ids": target, "decoder_attention_mask": target_real}
    output = model({key: value.astype("int32") for key, value in batch.items()}, return_attention=True)
    settings = naive.Settings(order, layout, activation, epsilon, embedding.scale)
    logits, cross = naive.transformer(source, source_real, target, target_real, parameters_of(model, dtype), settings)

    np.testing.assert_allclose(output.logits, logits, rtol=bound, atol=bound)
    weights = np.stack([np.asarray(layer) for layer in output.cross_attentions])
    np.testing.assert_allclose(weights, cross, atol=bound)
    ours, naives = cross_entropy(output.logits, labels, 0.1), naive.cross_entropy(logits, labels, 0.1)
    np.testing.assert_allclose([float(x) for x in ours], naives, rtol=1e-5)
