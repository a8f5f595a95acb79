"""Two encoders side by side, of texts and of images."""

from dataclasses import dataclass

from regard.errors import ConfigError
from regard.specs.model import Form, ModelSpec


@dataclass(frozen=True)
class PairSpec(ModelSpec):
    """A text encoder, and beside it another of images; their heads meet in one space (Radford et al. 2021, CLIP)."""

    images: ModelSpec | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, side in (("text", self), ("image", self.image_side)):
            if side.encoder is None or side.decoder is not None:
                raise ConfigError(f"pair: the {name} side must be an encoder alone")
            if side.output.kind != "pooled" or side.output.width is None:
                raise ConfigError(f"pair: the {name} side needs a pooled head with a width, but has {side.output}")
        if self.source is not None or self.image_side.source is None:
            raise ConfigError("pair: one side must read tokens, and the other patches")
        if self.output.width != self.image_side.output.width:
            raise ConfigError(
                f"pair: both heads must be of one width, but they are {self.output.width} and "
                f"{self.image_side.output.width}"
            )

    @property
    def form(self) -> Form:
        return "pair"

    @property
    def image_side(self) -> ModelSpec:
        """`images`, which is never None."""
        if self.images is None:
            raise ConfigError("pair: needs images, the spec of its image side, but has none")
        return self.images
