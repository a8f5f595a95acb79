"""Engines besides TensorFlow: a network built from its spec for a runtime that needs neither Keras nor TensorFlow."""
