"""What every optimizer here does beside its own rule: each weight's own rate and decay, and the weights' average."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf

from regard.training.parameter_groups import Plan


class Shared:
    """What all variables of a step have in common, and so is in its graph once."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def __call__(self, name: Any, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


class PerWeight(keras.optimizers.Optimizer):
    """Mixed into another Keras optimizer, before it. Decay is apart from the gradient (Loshchilov and Hutter 2019): a
    weight loses rate * decay of itself before the rule moves it.

    All of it stands in `update_step`, for one variable: in a cluster for that variable's copy on the replica at hand.
    """

    def __init__(self, plan: Plan, ema: float | None, **settings: Any) -> None:
        """plan: has the path of every variable that the optimizer is built for. ema: the average's decay."""
        # The name is fixed: Keras would number it by process, and with it the names in a checkpoint.
        super().__init__(learning_rate=0.0, name="optimizer", **settings)
        # A plain dictionary would be wrapped as a part of TensorFlow's own checkpoints.
        self.plan, self.ema = MappingProxyType(dict(plan)), ema
        self.averages: list[Any] = []
        self.shared = Shared()

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        if self.ema is not None:
            self.averages = self.add_optimizer_variables(variables, "average")

    @property
    def trained_weights(self) -> list[Any]:
        """The variables that it was built for."""
        return list(self._trainable_variables)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        # Keras's would add the gradients over the replicas once more, and by a call that no condition may hold.
        self.shared = Shared()  # anew in each graph, and on each replica
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            own = variable.value if isinstance(variable, keras.Variable) else variable
            self.update_step(gradient, own, learning_rate)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        """The gradient is a dense float32 tensor of the variable's shape."""
        index = self._get_variable_index(variable)
        treatment = self.plan[self._trainable_variables[index].path]
        share, decay = treatment.rate, treatment.weight_decay
        rate = self.shared(("rate", share), lambda: tf.cast(learning_rate, tf.float32) * share)
        if decay:
            variable.assign_sub(variable * self.shared(("decay", share, decay), lambda: rate * decay))
        super().update_step(gradient, variable, rate)
        if self.ema is not None:
            average = self.averages[index].value
            ema = self.ema
            new = self.shared("average", lambda: 1 - average_decay(self.iterations.value, ema))
            # average -= new * (average - variable), in one pass less than written so.
            tf.raw_ops.ResourceApplyGradientDescent(var=average.handle, alpha=new, delta=average - variable)


def average_decay(updates: Any, decay: float) -> Any:
    """How much of the average stays after so many updates: nothing of the zeros that it begins with, then n / (n + 9)
    until that is `decay`, so that the first weights do not weigh on it for 1 / (1 - decay) steps."""
    past = tf.cast(updates, tf.float32)
    return tf.minimum(decay, past / (past + 9.0))
