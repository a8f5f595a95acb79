"""Loss spikes: a step whose loss lies far above what the steps before it had is skipped, as one that is not finite."""

import tensorflow as tf

WINDOW = 100  # steps that the running mean looks back on, about; none is called a spike before so many


class SpikeGuard:
    """A running mean and variance of the losses of the steps that were applied; all of it in the graph of a step."""

    def __init__(self, deviations: float) -> None:
        """deviations: so many standard deviations above the mean a loss is a spike."""
        self.deviations = deviations
        self.mean = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="spike_mean")
        self.variance = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="spike_variance")
        self.seen = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="spike_seen")  # steps

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """What a checkpoint keeps, by name."""
        return {"spike_mean": self.mean, "spike_variance": self.variance, "spike_seen": self.seen}

    def beyond(self, loss: tf.Tensor) -> tf.Tensor:
        """Whether this loss (a scalar) is a spike; a boolean scalar."""
        bound = self.mean + self.deviations * tf.sqrt(self.variance)
        return (self.seen >= WINDOW) & (tf.cast(loss, tf.float64) > bound)

    def follow(self, loss: tf.Tensor) -> None:
        """Take the loss of a step that is applied into the mean and the variance.

        The plain ones of the first WINDOW losses (Welford 1962), exponentially weighted ones after them (Finch 2009).
        """
        self.seen.assign_add(1.0)
        share = tf.maximum(1 / self.seen, 1 / WINDOW)
        above = tf.cast(loss, tf.float64) - self.mean
        self.mean.assign_add(share * above)
        self.variance.assign((1 - share) * (self.variance + share * above**2))
