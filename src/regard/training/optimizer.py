"""The optimizers: Keras's own where they are right, fused or rewritten where not, each under `PerWeight`."""

import math
from typing import Any

import keras

from regard.config import OptimizerConfig, TrainingConfig
from regard.training.adafactor import AdafactorRule
from regard.training.fused_adam import FusedAdam
from regard.training.muon import Kernels, MuonRule, kernel_parts
from regard.training.parameter_groups import Plan, plan_updates
from regard.training.per_weight import PerWeight


class Adam(PerWeight, FusedAdam):
    """Kingma and Ba 2015; with decay AdamW, Loshchilov and Hutter 2019."""


class Adafactor(PerWeight, AdafactorRule):
    """Shazeer and Stern 2018."""


class Lion(PerWeight, keras.optimizers.Lion):
    """Chen et al. 2023."""


class Muon(PerWeight, MuonRule):
    """Jordan et al. 2024, scaled as Liu et al. 2025."""


class Sgd(PerWeight, keras.optimizers.SGD):
    """Gradient descent with momentum; a step is in the momentum at the rate of its time."""


_KINDS: dict[str, type[Any]] = {
    "adam": Adam,
    "adamw": Adam,
    "adafactor": Adafactor,
    "lion": Lion,
    "muon": Muon,
    "sgd": Sgd,
}


def build_optimizer(
    config: OptimizerConfig,
    variables: list[Any],
    plan: Plan | None = None,
    *,
    ema: float | None = None,
    kernels: Kernels | None = None,
    products: str = "float32",
) -> Any:
    """An optimizer, with its state for those of `variables` (Keras variables, float32) that the plan trains: its
    `trained_weights`.

    plan: absent: what `config` says. ema: the decay of an average of the weights, `averages`. kernels, products: what
    muon makes orthogonal, and the dtype of its matrix products.
    """
    plan = plan_updates(variables, config) if plan is None else plan
    settings: dict[str, Any] = config.settings()
    if config.name == "muon":
        settings |= {"kernels": kernels or {}, "products": products}
    optimizer = _KINDS[config.name](plan, ema, **settings)
    optimizer.build([variable for variable in variables if variable.path in plan])
    return optimizer


def model_optimizer(training: TrainingConfig, model: Any) -> Any:
    """The optimizer of a run, for the weights of its model that are not frozen."""
    config, weights = training.optimizer, model.trainable_variables
    plan = plan_updates(weights, config, training.freeze)
    products = model.compute_dtype
    return build_optimizer(config, weights, plan, ema=training.ema, kernels=kernel_parts(model), products=products)


def describe_training(optimizer: Any, model: Any) -> str:
    """How many of a model's parameters are trained."""
    trained, present = (_count(weights) for weights in (optimizer.trained_weights, model.trainable_variables))
    frozen = f", {present - trained:,} are frozen" if present > trained else ""
    return f"{trained:,} parameters are trained{frozen}"


def _count(weights: list[Any]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)
