"""What a model returns: one NamedTuple for all forms; an absent field is None."""

from typing import Any, NamedTuple

Tensor = Any  # a backend tensor; Keras has no type of its own for it


class Output(NamedTuple):
    """Shapes as in `regard.nn`'s legend; a tuple field has one tensor a layer, first layer first."""

    loss: Tensor | None = None  # scalar, nats: the mean over real labels
    logits: Tensor | None = None  # (B, T, V), classes (B, C), tags (B, T, C); float32, in training maybe less
    last_hidden_state: Tensor | None = None  # (B, T, D), of the decoder where there is one
    encoder_last_hidden_state: Tensor | None = None  # (B, S, D)
    attentions: tuple[Tensor, ...] | None = None  # (B, N, T, T) self-attention, of the decoder where there is one
    encoder_attentions: tuple[Tensor, ...] | None = None  # (B, N, S, S)
    cross_attentions: tuple[Tensor, ...] | None = None  # (B, N, T, S)
    pooler_output: Tensor | None = None  # (B, D): one vector for the whole
    start_logits: Tensor | None = None  # (B, S) float32: an answer begins here
    end_logits: Tensor | None = None  # (B, S) float32: and ends here
    text_embeds: Tensor | None = None  # (B, E), of length 1 where the model has both sides
    image_embeds: Tensor | None = None  # (B, E), as text_embeds
    logits_per_text: Tensor | None = None  # (texts, images): scaled cosines
    logits_per_image: Tensor | None = None  # (images, texts)
