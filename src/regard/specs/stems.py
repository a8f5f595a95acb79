"""What a network reads, and what turns it into vectors: tokens, patches of an image, frames of audio."""

from dataclasses import dataclass
from typing import Literal

from regard.errors import ConfigError
from regard.specs.checks import (
    require_above_zero,
    require_at_most,
    require_count,
    require_flag,
    require_positive,
    require_rate,
)

MOST_POSITIONS = 2**15  # a config may be hostile, and a table of them is kept


@dataclass(frozen=True)
class PositionSpec:
    """How a token, a patch or a frame knows its place (Vaswani et al. 2017, section 3.5)."""

    kind: Literal["sinusoidal", "learned", "stored", "none"] = "sinusoidal"  # stored: a table that is never trained
    layout: Literal["interleaved", "halves"] = "halves"  # sin cos sin cos (the paper), or all sines, then all cosines
    rates: Literal["paper", "tensor2tensor"] = "paper"  # 10000^(-2i/d), or 10000^(-i/(d/2 - 1)), their code's
    offset: int = 0  # rows of the table before that of position 0
    max_positions: int = 512  # the longest sequence, in tokens
    skips_padding: bool = False  # the padding's id takes no place, whatever the mask says, but the row before the first

    def __post_init__(self) -> None:
        require_positive("positions", max_positions=self.max_positions)
        require_count("positions", offset=self.offset)
        require_flag("positions", skips_padding=self.skips_padding)
        if self.skips_padding and not self.offset:
            raise ConfigError("positions: skips_padding needs a row before the first place, but offset is 0")
        if self.kind != "none":
            require_at_most("positions", "max_positions", self.max_positions, MOST_POSITIONS)


@dataclass(frozen=True)
class EmbeddingSpec:
    """Token ids to vectors, shared by every part that embeds or predicts tokens (section 3.4)."""

    vocab_size: int
    width: int
    positions: PositionSpec
    pad_id: int | None  # its row of the table is never trained
    scale: bool = True  # multiply by the square root of the width
    dropout: float = 0.1
    token_types: int = 0  # BERT's sentence A and sentence B: a second table, 0 without one
    norm: bool = False  # a layer norm on the sum
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        require_positive("embedding", vocab_size=self.vocab_size, width=self.width)
        require_count("embedding", token_types=self.token_types)
        require_rate("embedding", dropout=self.dropout)
        require_flag("embedding", scale=self.scale, norm=self.norm)
        require_above_zero("embedding", norm_epsilon=self.norm_epsilon)
        if self.pad_id is not None and (type(self.pad_id) is not int or not 0 <= self.pad_id < self.vocab_size):
            raise ConfigError(
                f"embedding: pad_id must be an id below vocab_size ({self.vocab_size}), but is {self.pad_id}"
            )


@dataclass(frozen=True)
class PatchSpec:
    """An image cut into patches, each projected to a vector (Dosovitskiy et al. 2021, section 3.1)."""

    width: int
    image_height: int
    image_width: int
    patch_height: int
    patch_width: int
    channels: int = 3
    bias: bool = True
    extra_tokens: int = 1  # learned vectors before the patches: the class token, and DeiT's distillation token
    norm: bool = False  # a layer norm on the sum with the positions (CLIP)
    norm_epsilon: float = 1e-5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("width", "image_height", "image_width", "patch_height", "patch_width", "channels")
        require_positive("patches", **{name: getattr(self, name) for name in sizes})
        require_count("patches", extra_tokens=self.extra_tokens)
        require_flag("patches", bias=self.bias, norm=self.norm)
        require_rate("patches", dropout=self.dropout)
        require_above_zero("patches", norm_epsilon=self.norm_epsilon)
        if self.count < 1:
            raise ConfigError(
                f"patches: an image of {self.image_height} x {self.image_width} has no patch of "
                f"{self.patch_height} x {self.patch_width}"
            )
        require_at_most("patches", "their number", self.count, MOST_POSITIONS)

    @property
    def count(self) -> int:
        """P: the whole patches in an image."""
        return (self.image_height // self.patch_height) * (self.image_width // self.patch_width)


@dataclass(frozen=True)
class AudioSpec:
    """Mel frames through two convolutions, the second of stride 2 (Radford et al. 2022, section 2.2)."""

    width: int
    mels: int
    positions: PositionSpec  # of the frames that come out
    dropout: float = 0.0
    whole_windows: bool = True  # reads as many frames as there are positions for; False: or fewer, an even number

    def __post_init__(self) -> None:
        require_positive("audio", width=self.width, mels=self.mels)
        require_rate("audio", dropout=self.dropout)
        require_flag("audio", whole_windows=self.whole_windows)
        if self.positions.kind in ("sinusoidal", "stored") and self.width % 2:
            raise ConfigError(f"audio: sinusoidal positions need an even width, but width is {self.width}")
