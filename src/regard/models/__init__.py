"""Networks built from specs: the forms, the families, and the catalogue of both."""

import regard.nn  # noqa: F401  # checks TensorFlow and Keras's backend before the first import of Keras
