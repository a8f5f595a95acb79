"""Hugging Face's directories, in and out."""
