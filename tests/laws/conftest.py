"""Tiny networks of every form and norm order, with weights large enough that a mistake shows."""

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.nn.kernels import compiled
from regard.specs import ModelSpec, StackSpec

PAD, EOS, VOCABULARY = 22, 0, 23


def tiny_spec(form: str, norm_order: str = "post", **overrides) -> ModelSpec:
    both = spec(
        "tiny",
        pad_id=PAD,
        eos_id=EOS,
        **{
            "vocab_size": VOCABULARY,
            "width": 12,
            "heads": 3,
            "ffn_width": 20,
            "encoder_depth": 2,
            "decoder_depth": 3,
            "dropout": 0.0,
            "max_positions": 64,
            "norm_order": norm_order,
            **overrides,
        },
    )
    if form == "encoder-decoder":
        return both
    if form == "encoder":
        return replace(both, decoder=None, head=None)
    layer = replace(both.decoder.layer, cross_attention=False)
    return replace(both, encoder=None, decoder=StackSpec(layer, 3, both.decoder.final_norm))


def shake(model, seed=0, size=0.3):
    """Random weights everywhere, biases and norms too; the padding row stays at zero."""
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        value = np.asarray(variable.value) + rng.normal(0, size, variable.shape)
        if variable.path.endswith("table"):
            value[PAD] = 0
        variable.assign(value)
    return model


@pytest.fixture(scope="session")
def tiny():
    """What makes such networks: `tiny.spec(form, norm_order, **overrides)` and `tiny.shake(model)`."""
    return SimpleNamespace(spec=tiny_spec, shake=shake)


@pytest.fixture(scope="session")
def network():
    """`network(form, norm_order, dtype)`: built once a session."""
    built = {}

    def get(form, norm_order="post", dtype="float32"):
        key = (form, norm_order, dtype)
        if key not in built:
            keras.utils.set_random_seed(7)
            built[key] = shake(build_model(tiny_spec(form, norm_order), dtype))
        return built[key]

    return get


@pytest.fixture(scope="session")
def run():
    """`run(model, input_ids=..., ...)`: the model's Output as arrays, through one graph for each set of keys."""
    graphs = {}

    def get(model, **batch):
        batch = {key: np.asarray(value, "int32") for key, value in batch.items()}
        key = (id(model), *batch)
        if key not in graphs:
            graphs[key] = compiled(lambda batch: model(batch, return_attention=True), batch)
        return graphs[key](batch)

    return get
