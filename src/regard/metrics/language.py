"""What a mean loss in nats says of text."""

from math import exp, log


def perplexity(loss: float) -> float:
    """e to the mean loss of a token; no more than e^700, which is near the largest float64."""
    return exp(min(loss, 700.0))


def bits_per_byte(nats: float, size: int) -> float:
    """The loss of a whole text over its bytes in UTF-8: independent of the tokenizer, so models can be compared."""
    return nats / log(2) / size
