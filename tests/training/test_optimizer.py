import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from regard.config import OptimizerConfig
from regard.training.muon import kernel_parts, orthogonal
from regard.training.optimizer import build_optimizer
from regard.training.parameter_groups import Treatment

Array = np.ndarray
State = dict[str, Any]
SETTINGS = {"beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-9}
KERNEL = "encoder/layer_0/self_attention/query_key_value/kernel"
SHAPES = {
    "encoder/embedding/table": (7, 4),
    KERNEL: (4, 12),
    "encoder/layer_0/feed_forward/down/kernel": (9, 4),
    "encoder/layer_0/feed_forward/down/bias": (4,),
    "similarity/logit_scale": (),
}
KERNELS = {KERNEL: (6, 3, 3), "encoder/layer_0/feed_forward/down/kernel": (4,)}
NAMES = ["adam", "adamw", "adafactor", "lion", "muon", "sgd"]
RATES = (0.01, 0.03, 0.02)


# The rules, in NumPy and float64 straight from their papers: (weight, state, gradient, rate, settings) -> weight.


def adam(weight: Array, state: State, gradient: Array, rate: float, settings: dict[str, float]) -> Array:
    """Kingma and Ba 2015, with the step's corrections folded into the rate (the end of section 2)."""
    one, two = settings["beta_1"], settings["beta_2"]
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = one * state.get("m", 0) + (1 - one) * gradient
    state["v"] = two * state.get("v", 0) + (1 - two) * gradient**2
    corrected = rate * math.sqrt(1 - two**t) / (1 - one**t)
    return weight - corrected * state["m"] / (np.sqrt(state["v"]) + settings["epsilon"])


def lion(weight: Array, state: State, gradient: Array, rate: float, settings: dict[str, float]) -> Array:
    """Chen et al. 2023, algorithm 2."""
    one, two = settings["beta_1"], settings["beta_2"]
    before = state.get("m", np.zeros_like(weight))
    state["m"] = two * before + (1 - two) * gradient
    return weight - rate * np.sign(one * before + (1 - one) * gradient)


def sgd(weight: Array, state: State, gradient: Array, rate: float, settings: dict[str, float]) -> Array:
    """Polyak 1964."""
    state["m"] = settings["momentum"] * state.get("m", 0) - rate * gradient
    return weight + state["m"]


def adafactor(weight: Array, state: State, gradient: Array, rate: float, settings: dict[str, float]) -> Array:
    """Shazeer and Stern 2018, algorithms 4 and 5, with the settings of section 9."""
    t = state["t"] = state.get("t", 0) + 1
    keep = 1 - t**-0.8
    squares = gradient**2 + 1e-30
    if weight.ndim == 2:
        state["r"] = keep * state.get("r", 0) + (1 - keep) * squares.sum(axis=1)
        state["c"] = keep * state.get("c", 0) + (1 - keep) * squares.sum(axis=0)
        second_moment = np.outer(state["r"], state["c"]) / state["r"].sum()
    else:
        second_moment = state["v"] = keep * state.get("v", 0) + (1 - keep) * squares
    update = gradient / np.sqrt(second_moment)
    update /= max(1.0, np.sqrt(np.mean(update**2)))
    return weight - max(1e-3, np.sqrt(np.mean(weight**2))) * rate * update


def muon(weight: Array, state: State, gradient: Array, rate: float, settings: dict[str, float]) -> Array:
    """Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4."""
    mu = settings["momentum"]
    state["m"] = mu * state.get("m", 0) + gradient
    x = gradient + mu * state["m"]
    x = x / np.linalg.norm(x)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return weight - rate * 0.2 * math.sqrt(max(weight.shape)) * x


RULES = {"adam": adam, "adamw": adam, "adafactor": adafactor, "lion": lion, "muon": adam, "sgd": sgd}


def weight(path: str, value: np.ndarray) -> Any:
    *scopes, name = path.split("/")
    with ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        return keras.Variable(value.astype(np.float32), name=name)


def fresh_weights(seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [weight(path, rng.normal(size=shape)) for path, shape in SHAPES.items()]


def gradients_of(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(100 + step)
    return {path: rng.normal(size=shape).astype(np.float32) for path, shape in SHAPES.items()}


def apply(optimizer: Any, weights: list[Any], steps: range = range(3)) -> None:
    """Steps with given gradients, the update inside a graph as training has it."""

    @tf.function
    def update(gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        optimizer.learning_rate.assign(rate)
        optimizer.apply(gradients, weights)

    for step in steps:
        given = gradients_of(step)
        update([tf.constant(given[each.path]) for each in weights], tf.constant(RATES[step % 3]))


def config_of(name: str, **settings: Any) -> OptimizerConfig:
    return OptimizerConfig.model_validate({"name": name, **settings})


def numbers(weights: list[Any]) -> dict[str, np.ndarray]:
    return {each.path: np.array(each.numpy()) for each in weights}


def expected(
    config: OptimizerConfig, start: Mapping[str, np.ndarray], treatments: Mapping[str, Treatment]
) -> dict[str, np.ndarray]:
    """The weights after three steps, in float64, each by the rule of its paper."""
    found = {}
    for path, value in start.items():
        parts = KERNELS.get(path, ()) if config.name == "muon" else ()
        rule = muon if parts else RULES[config.name]
        cuts = np.cumsum(parts)[:-1].tolist() if parts else []
        states: list[dict[str, Any]] = [{} for _ in range(len(cuts) + 1)]
        current = value.astype(np.float64)
        for step, rate in enumerate(RATES):
            treatment, gradient = treatments[path], gradients_of(step)[path].astype(np.float64)
            own_rate = rate * treatment.rate
            current = current - own_rate * treatment.weight_decay * current
            pieces = zip(
                np.split(current, cuts, axis=-1) if cuts else [current],
                np.split(gradient, cuts, axis=-1) if cuts else [gradient],
                states,
                strict=True,
            )
            moved = [rule(piece, state, slope, own_rate, config.settings()) for piece, slope, state in pieces]
            current = np.concatenate(moved, axis=-1) if cuts else moved[0]
        found[path] = current
    return found


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_are_those_of_the_paper_with_each_weight_s_own_rate_and_decay(name: str) -> None:
    config, weights = config_of(name), fresh_weights()
    treatments = {
        path: Treatment(1.0 if index % 2 else 0.25, 0.0 if index == 3 or name == "adam" else 0.5)
        for index, path in enumerate(SHAPES)
    }
    start = numbers(weights)
    apply(build_optimizer(config, weights, treatments, kernels=KERNELS), weights)
    wanted = expected(config, start, treatments)
    for path, value in numbers(weights).items():
        np.testing.assert_allclose(value, wanted[path], rtol=2e-5, atol=2e-6, err_msg=path)
        assert np.abs(value - start[path]).max() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_going_on_from_saved_variables_gives_the_bits_of_an_undisturbed_optimizer(name: str) -> None:
    weights = fresh_weights()
    optimizer = build_optimizer(config_of(name), weights, ema=0.9, kernels=KERNELS)
    apply(optimizer, weights)
    saved = {each.path: each.numpy() for each in [*weights, *optimizer.variables]}
    assert len(saved) == len(weights) + len(optimizer.variables), "two variables have one path"
    apply(optimizer, weights, range(3, 5))
    others = fresh_weights(seed=9)
    resumed = build_optimizer(config_of(name), others, ema=0.9, kernels=KERNELS)
    assert {each.path for each in [*others, *resumed.variables]} == saved.keys()
    for each in [*others, *resumed.variables]:
        each.assign(saved[each.path])
    apply(resumed, others, range(3, 5))
    for one, other in zip([*weights, *optimizer.variables], [*others, *resumed.variables], strict=True):
        assert np.asarray(one.numpy()).tobytes() == np.asarray(other.numpy()).tobytes(), one.path


def test_the_fused_adam_equals_keras_s_own() -> None:
    ours, theirs = fresh_weights(), fresh_weights()
    apply(build_optimizer(config_of("adam"), ours), ours)
    apply(keras.optimizers.Adam(0.0, **SETTINGS), theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-6, atol=1e-7)


def test_kernels_decay_but_norms_and_biases_never_do(toy: Callable[..., Any]) -> None:
    model = toy()
    optimizer = build_optimizer(config_of("adamw", weight_decay=0.5), model.trainable_variables)
    before = {weight.name: weight.numpy() for weight in model.trainable_variables}
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([tf.zeros(weight.shape) for weight in model.trainable_variables], model.trainable_variables)
    np.testing.assert_array_equal(model.scale.numpy(), before["scale"])
    np.testing.assert_allclose(model.kernel.numpy(), before["kernel"] * 0.95, rtol=1e-6)


def test_weights_outside_the_plan_have_no_state() -> None:
    weights = fresh_weights()
    optimizer = build_optimizer(config_of("adamw"), weights, {KERNEL: Treatment()}, ema=0.9)
    assert [each.path for each in optimizer.trained_weights] == [KERNEL]
    shapes = [tuple(each.shape) for each in optimizer.variables if len(each.shape)]
    assert shapes == [SHAPES[KERNEL]] * 3, "momentum, velocity and average of one kernel"


def test_adafactor_keeps_a_number_a_row_and_one_a_column() -> None:
    optimizer = build_optimizer(config_of("adafactor"), fresh_weights())
    numbers_kept = sum(int(np.prod(each.shape)) for each in optimizer.variables)
    assert numbers_kept == 2 + (7 + 4) + (4 + 12) + (9 + 4) + 4 + 1


def test_muon_makes_every_part_of_a_fused_kernel_orthogonal_by_itself() -> None:
    weights = [each for each in fresh_weights() if each.path == KERNEL]
    start = weights[0].numpy().astype(np.float64)
    optimizer = build_optimizer(config_of("muon"), weights, kernels=KERNELS)
    apply(optimizer, weights, range(1))
    update = (start - weights[0].numpy()) / RATES[0]
    for part in np.split(update, [6, 9], axis=1):
        values = np.linalg.svd(part, compute_uv=False) / (0.2 * np.sqrt(max(part.shape)))
        assert values.min() > 0.6
        assert values.max() < 1.25


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4)])
def test_bfloat16_products_make_nearly_the_same_orthogonal_matrix(shape: tuple[int, int]) -> None:
    matrix = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    exact, rounded = orthogonal(matrix).numpy(), orthogonal(matrix, "bfloat16").numpy()
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.1
    left, _, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    for found in (exact, rounded):
        cosine = np.sum(found * (left @ right)) / (np.linalg.norm(found) * np.linalg.norm(left @ right))
        assert cosine > 0.97


def test_muon_takes_the_kernels_of_the_layers_and_knows_their_parts() -> None:
    from regard.models.catalog import spec
    from regard.models.forms import build_model

    sizes = {"width": 8, "heads": 2, "ffn_width": 16, "encoder_depth": 1, "decoder_depth": 1}
    model = build_model(spec("tiny", vocab_size=11, pad_id=10, eos_id=0, **sizes))
    parts = kernel_parts(model)
    kernels = {each.path: tuple(each.shape) for each in model.trainable_variables if each.path.endswith("/kernel")}
    assert parts.keys() == kernels.keys(), "this model has kernels in its layers alone"
    assert all(sum(parts[path]) == shape[1] for path, shape in kernels.items())
    assert parts["decoder/layer_0/self_attention/query_key_value/kernel"] == (8, 8, 8)
    assert parts["decoder/layer_0/cross_attention/key_value/kernel"] == (8, 8)
    assert parts["encoder/layer_0/feed_forward/up/kernel"] == (16,)


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_the_optimizer_s_variables_do_not_depend_on_the_process(
    toy: Callable[..., Any], name: str
) -> None:
    models = [toy(), toy()]
    first, second = (build_optimizer(config_of(name), model.trainable_variables).variables for model in models)
    names = [variable.path for variable in first]
    assert names == [variable.path for variable in second]
    assert len(set(names)) == len(names)
