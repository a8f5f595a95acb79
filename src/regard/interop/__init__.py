"""Hugging Face's directories, in and out."""

import regard.nn  # noqa: F401  # checks TensorFlow and Keras's backend before the first import of Keras
