"""Layers whose inside is computed twice: the same gradients, the same noise, fewer tensors kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from regard.config import RunConfig, TrainingConfig
from regard.models.catalog import spec
from regard.models.forms import build_model
from regard.models.presets import Vocabulary, preset_spec
from regard.training.optimizer import model_optimizer
from regard.training.rematerialisation import recompute_layers
from regard.training.step import TrainStep, batch_signature
from regard.training.streams import Streams
from regard.training.trainer import train

SIZES = {"width": 8, "heads": 2, "ffn_width": 16, "dropout": 0.3}
PAIR = {"input_ids": (3, 6), "attention_mask": (3, 6), "labels": (3, 5)}
ALONE = {**PAIR, "labels": (3, 6)}


def translator() -> Any:
    depths = {"encoder_depth": 1, "decoder_depth": 2, "attention_dropout": 0.2, "activation_dropout": 0.2}
    return spec("tiny", vocab_size=11, pad_id=10, eos_id=0, **SIZES, **depths)


def with_a_bias() -> Any:
    return preset_spec("t5-tiny", Vocabulary(11, 10, 0), **SIZES, encoder_depth=1, decoder_depth=1)


NETWORKS: dict[str, tuple[Callable[[], Any], dict[str, tuple[int, int]]]] = {
    "two sides": (translator, PAIR),
    "a decoder alone": (lambda: preset_spec("gpt2-tiny", Vocabulary(11, 10, 0), **SIZES), ALONE),
    "a bias on the scores": (with_a_bias, PAIR),
}


def batch_of(shapes: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    batch = {key: rng.integers(0, 10, shape).astype(np.int32) for key, shape in shapes.items()}
    batch["attention_mask"] = np.array([[1, 1, 1, 1, 0, 0], [1] * 6, [1] * 6], np.int32)
    return batch


def step_of(network: str, remat: bool, **training: Any) -> TrainStep:
    keras.utils.set_random_seed(4)
    make, shapes = NETWORKS[network]
    model = build_model(make())
    if remat:
        recompute_layers(model)
    optimizer = model_optimizer(TrainingConfig.model_validate({"steps": 9, **training}), model)
    return TrainStep(model, optimizer, keys=shapes, weights=optimizer.trained_weights)


def assert_close(sums: list[Any], recomputed: list[Any]) -> None:
    """Gradients, then a loss and a count."""
    largest = max(float(tf.reduce_max(tf.abs(each))) for each in sums[:-2])
    assert largest > 0.1
    for one, other in zip(sums[:-2], recomputed[:-2], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6 * largest)
    np.testing.assert_allclose(sums[-2:], recomputed[-2:], rtol=1e-6)


def test_so_are_those_of_each_piece_where_pieces_are_computed_side_by_side() -> None:
    pieces = [batch_of(PAIR), {key: rows[:2] for key, rows in batch_of(PAIR).items()}]
    steps = (step_of("two sides", remat) for remat in (False, True))
    plain, again = (Streams(2, step.model, step._sums, batch_signature(PAIR)) for step in steps)
    for _ in range(2):
        (kept, noise), (recomputed, same) = plain.run(pieces), again.run(pieces)
        for one, other in zip(kept, recomputed, strict=True):
            assert_close(one, other)
        np.testing.assert_array_equal(noise, same)
        plain.go_on(noise)
        again.go_on(noise)


@pytest.mark.parametrize("network", ["two sides", "a bias on the scores"])
def test_gradients_and_noise_are_those_of_layers_that_keep_everything(network: str) -> None:
    batch = batch_of(NETWORKS[network][1])
    plain, again = step_of(network, False), step_of(network, True)
    gradients = [tf.function(step._sums) for step in (plain, again)]
    for _ in range(2):  # the second time, the noise must have moved on alike
        assert_close(*(each(batch) for each in gradients))
    for one, other in zip(plain.model.non_trainable_variables, again.model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_graph_of_a_step_draws_each_mask_twice_from_the_same_seed() -> None:
    def draws(step: TrainStep) -> int:
        operations = step._whole.get_concrete_function().graph.get_operations()
        calls = [each.get_attr("f").name for each in operations if each.type.endswith("PartitionedCall")]
        return sum("_factors_" in name for name in calls)  # of dropout, in nn/training_kernels.py

    assert draws(step_of("two sides", True)) > 1.5 * draws(step_of("two sides", False)) > 0


def test_frozen_weights_stay_and_the_others_are_updated() -> None:
    step = step_of("a decoder alone", True, freeze=("*layer_0*",))
    before = {weight.path: weight.numpy() for weight in step.model.trainable_variables}
    step([batch_of(ALONE)], 0.1)
    moved = {weight.path for weight in step.model.trainable_variables if (weight.numpy() != before[weight.path]).any()}
    assert moved == {path for path in before if "layer_0" not in path}


def test_outside_training_attention_weights_are_returned_as_ever() -> None:
    model = step_of("two sides", True).model
    attentions = model(batch_of(PAIR), return_attention=True).attentions
    assert [each.shape for each in attentions] == [(3, 2, 5, 5)] * 2  # a decoder's layer each


def test_a_run_with_recomputed_layers_learns_what_the_run_without_them_does(
    toy_run: Callable[..., RunConfig], begun: Path, undisturbed: Path, records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    train(toy_run(remat=True), begun)
    losses = [[line["loss"] for line in records(run) if line["kind"] == "validation"] for run in (begun, undisturbed)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
