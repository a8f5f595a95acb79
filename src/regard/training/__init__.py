"""Training: one traced step, its loop, checkpoints that survive a kill, validation, the model handed over."""

import regard.nn  # noqa: F401  # checks TensorFlow and Keras's backend before the first import of Keras
