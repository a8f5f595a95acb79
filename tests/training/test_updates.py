"""The optimizers, frozen weights and the weights' average inside the train step, and through a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from regard.config import OptimizerConfig, TrainingConfig
from regard.errors import ConfigError
from regard.interop.checkpoints import write_model
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.training.ema import assign_averages, averaged
from regard.training.optimizer import build_optimizer, describe_training, model_optimizer
from regard.training.state import TENSORS, RunState, restore, snapshot, write_state
from regard.training.step import TrainStep

KEYS = ("input_ids", "attention_mask", "labels")
NAMES = ["adam", "adamw", "adafactor", "lion", "muon", "sgd"]


def fresh(
    seed: int, optimizer: dict[str, Any], dtype: str = "float32", accumulation: int = 1, **training: Any
) -> TrainStep:
    keras.utils.set_random_seed(seed)
    sizes = {"width": 8, "heads": 2, "ffn_width": 16, "encoder_depth": 1, "decoder_depth": 1, "dropout": 0.2}
    model = build_model(spec("tiny", vocab_size=11, pad_id=10, eos_id=0, **sizes), dtype)
    config = TrainingConfig.model_validate({"steps": 9, "optimizer": optimizer, **training})
    made = model_optimizer(config, model)
    return TrainStep(model, made, keys=KEYS, clip_norm=1.0, accumulation=accumulation, weights=made.trained_weights)


def everything(step: TrainStep) -> dict[str, bytes]:
    variables = [*step.model.variables, *step.optimizer.variables, *step.variables.values()]
    return {f"{i} {each.name}": np.asarray(each.numpy()).tobytes() for i, each in enumerate(variables)}


def weights(step: TrainStep) -> dict[str, np.ndarray]:
    return {each.path: np.array(each.numpy()) for each in step.model.trainable_variables}


def saved(directory: Path, step: TrainStep) -> Path:
    taken = snapshot(RunState(), step)
    write_model(step.model, directory, values=taken.weights)
    write_state(directory, taken, {"run": {}})
    return directory


OFTEN = ("adamw", "adafactor")  # the others' state is kept by the same code: make test-full tries all


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(pytest.param(name, "float32", marks=() if name in OFTEN else pytest.mark.full) for name in NAMES),
        ("muon", "mixed_bfloat16"),
    ],
)
def test_a_checkpoint_gives_the_bits_of_an_undisturbed_run(
    tmp_path: Path, random_batch: Callable[..., Any], name: str, dtype: str
) -> None:
    settings = {"optimizer": {"name": name}, "dtype": dtype, "ema": 0.9, "freeze": ["encoder/layer_0/*"]}
    batches = [[random_batch(seed=10 * step + part) for part in range(2)] for step in range(3)]
    undisturbed = fresh(1, **settings, accumulation=2)
    for number, batch in enumerate(batches):
        if number == 2:
            saved(tmp_path, undisturbed)
        assert undisturbed(batch, 0.01)
    resumed = fresh(99, **settings, accumulation=2)
    restore(tmp_path, resumed)
    assert resumed(batches[2], 0.01)
    assert everything(resumed) == everything(undisturbed)
    assert all(each.dtype == np.float32 for each in weights(resumed).values())


@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_is_not_finite_touches_no_state_of_any_optimizer(
    toy: Callable[..., Any], random_batch: Callable[..., Any], name: str
) -> None:
    decay = {} if name == "adam" else {"weight_decay": 0.1}
    model = toy()
    kernels = {model.kernel.path: (3, 3)}
    optimizer = build_optimizer(
        OptimizerConfig.model_validate({"name": name, **decay}), model.trainable_variables, ema=0.9, kernels=kernels
    )
    step = TrainStep(model, optimizer, keys=KEYS)
    assert step([random_batch()], 0.01)
    model.scale.assign(np.full(6, np.nan, np.float32))
    before = everything(step)
    assert step([random_batch()], 0.01) == 0
    assert everything(step) == before
    assert int(optimizer.iterations.numpy()) == 1


def test_frozen_weights_stay_what_they_were_and_the_rest_learns(random_batch: Callable[..., Any]) -> None:
    step = fresh(0, {"name": "adamw", "weight_decay": 0.5}, freeze=["encoder/*"])
    before = weights(step)
    for seed in range(2):
        assert step([random_batch(seed=seed)], 0.01)
    for path, value in weights(step).items():
        assert np.array_equal(value, before[path]) == path.startswith("encoder/"), path
    assert not any("encoder_layer" in each.path and "decoder" not in each.path for each in step.optimizer.variables)
    trained = sum(value.size for path, value in before.items() if not path.startswith("encoder/"))
    frozen = sum(value.size for value in before.values()) - trained
    assert describe_training(step.optimizer, step.model) == f"{trained:,} parameters are trained, {frozen:,} are frozen"


def test_frozen_weights_have_no_gradient_in_the_graph(random_batch: Callable[..., Any]) -> None:
    def gradients(step: TrainStep) -> int:
        step([random_batch()], 0.01)
        nodes = step._whole.get_concrete_function().graph.as_graph_def().node
        return sum(node.op == "MatMul" for node in nodes)

    assert gradients(fresh(0, {}, freeze=["encoder/*"])) < gradients(fresh(0, {}))


def test_frozen_weights_are_in_the_checkpoint_and_come_back(tmp_path: Path, random_batch: Callable[..., Any]) -> None:
    step = fresh(0, {}, freeze=["encoder/*"])
    step([random_batch()], 0.01)
    other = fresh(7, {}, freeze=["encoder/*"])
    restore(saved(tmp_path, step), other)
    assert everything(other) == everything(step)


def test_a_group_s_rate_and_layer_decay_reach_the_update(random_batch: Callable[..., Any]) -> None:
    """The first step of Adam moves every entry that has a gradient by its rate."""
    groups = [{"pattern": "decoder/*", "rate": 0.1}]
    step = fresh(0, {"layer_decay": 0.5, "groups": groups})
    before = weights(step)
    assert step([random_batch()], 0.01)
    moved = {path: np.abs(value - before[path]).max() / 0.01 for path, value in weights(step).items()}
    assert moved["encoder/embedding/table"] == pytest.approx(0.25, rel=1e-3)
    assert moved["encoder/layer_0/feed_forward/up/kernel"] == pytest.approx(0.5, rel=1e-3)
    assert moved["decoder/layer_0/feed_forward/up/kernel"] == pytest.approx(0.05, rel=1e-3)


def test_a_pattern_of_no_weight_is_refused_with_names_of_this_model() -> None:
    with pytest.raises(ConfigError, match=r"no weight matches 'encoder/layer0/\*': did you mean encoder/layer_0/\*"):
        fresh(0, {}, freeze=["encoder/layer0/*"])


def test_the_average_follows_its_formula(random_batch: Callable[..., Any]) -> None:
    step = fresh(0, {"name": "sgd"}, ema=0.2)
    expected: dict[str, np.ndarray] = {}
    for number in range(4):
        assert step([random_batch(seed=number)], 0.5)
        decay = min(0.2, number / (number + 9))
        for path, value in weights(step).items():
            expected[path] = value if number == 0 else decay * expected[path] + (1 - decay) * value
    for each, average in zip(step.weights, step.optimizer.averages, strict=True):
        np.testing.assert_allclose(average.numpy(), expected[each.path], rtol=1e-5, atol=1e-7)


def test_inside_averaged_the_weights_are_the_averages_and_after_it_what_they_were(
    tmp_path: Path, random_batch: Callable[..., Any]
) -> None:
    step = fresh(0, {"name": "sgd"}, ema=0.9, freeze=["encoder/*"])
    for seed in range(3):
        assert step([random_batch(seed=seed)], 0.5)
    before, averages = everything(step), [each.numpy() for each in step.optimizer.averages]
    with averaged(step.optimizer):
        for each, average in zip(step.weights, averages, strict=True):
            np.testing.assert_array_equal(each.numpy(), average)
    assert everything(step) == before
    assert step([random_batch(seed=3)], 0.5), "and the optimizer goes on"
    saved(tmp_path, step)
    averages = [each.numpy() for each in step.optimizer.averages]
    other = fresh(5, {"name": "sgd"}, ema=0.9, freeze=["encoder/*"])
    assign_averages(other.optimizer, tmp_path / TENSORS)
    for each, average in zip(other.weights, averages, strict=True):
        np.testing.assert_array_equal(each.numpy(), average)
