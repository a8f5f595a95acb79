"""Each activation against its formula, at numbers on both sides of each corner."""

import math
from typing import get_args

import numpy as np
import pytest

from regard.errors import CheckpointError
from regard.models.family import ACTIVATION_NAMES, Config
from regard.nn.layers import ACTIVATIONS
from regard.specs import Activation

POINTS = (-12.0, -3.0, -0.5, 0.0, 0.7, 5.0, 7.0, 12.0)


def gelu(x):
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


FORMULAS = {
    "relu": lambda x: max(x, 0),
    "gelu": gelu,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "silu": lambda x: x * sigmoid(x),
    "tanh": math.tanh,
    "gelu_10": lambda x: min(max(gelu(x), -10), 10),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "sigmoid": sigmoid,
    "linear": lambda x: x,
    "relu2": lambda x: max(x, 0) ** 2,
    "relu6": lambda x: min(max(x, 0), 6),
}


def test_each_has_a_formula_and_a_name():
    assert FORMULAS.keys() == ACTIVATIONS.keys() == ACTIVATION_NAMES.keys() == set(get_args(Activation))


@pytest.mark.parametrize("name", FORMULAS)
def test_an_activation_is_its_formula(name):
    found = np.asarray(ACTIVATIONS[name](np.array(POINTS, np.float32)))
    np.testing.assert_allclose(found, [FORMULAS[name](x) for x in POINTS], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_without_tensorflow_it_is_the_same(name):
    ov = pytest.importorskip("openvino")
    from openvino import opset13 as op

    from regard.export.openvino_nodes import ACTIVATIONS as NODES

    x = op.parameter([len(POINTS)], np.float32)
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    model = ov.compile_model(ov.Model([op.result(NODES[name](x))], [x], name), "CPU", precise)
    found = model(np.array(POINTS, np.float32))[0]
    np.testing.assert_allclose(found, [FORMULAS[name](x) for x in POINTS], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ("gelu_python", "gelu"),
        ("gelu_python_tanh", "gelu_tanh"),
        ("gelu_accurate", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("swish", "silu"),
        ("mish", "mish"),
    ],
)
def test_names_of_transformers(said, ours):
    assert Config({"hidden_act": said}).activation("hidden_act") == ours


def test_an_unknown_name_is_refused():
    with pytest.raises(CheckpointError, match="unknown hidden_act 'xielu'"):
        Config({"hidden_act": "xielu"}).activation("hidden_act")
