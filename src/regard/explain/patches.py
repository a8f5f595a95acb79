"""Where a network of images looks: weights laid over the patches of a picture (Dosovitskiy et al. 2021; for captions
the idea is Xu et al. 2015)."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image as PillowImage

from regard.errors import InputError
from regard.explain.attention import ByHead, Head, opacity, rollout, stacked
from regard.explain.svg import element
from regard.features.image import Image, ImageProcessor
from regard.features.tokenizer import Tokenizer
from regard.specs import PatchSpec

LARGE, SMALL = 320, 104  # the longer side of a picture on the page, in pixels
FAINT = 0.01  # of the strongest weight: what is weaker is not drawn
COARSE = 160  # a picture with a longer side below this is shown with its pixels as squares
EXTRA = ("class token", "distillation token")  # what stands before the patches, as in DeiT


@dataclass(frozen=True)
class PatchAttention(ByHead):
    """A picture and where something looked in it.

    `weights` is (L, N, T, P + E) float: layer l's head n, read by `readers[t]`, gave patch p this weight, patches row
    by row, and after them the E learned vectors of `others`; each row sums to 1. `grid` is the rows and the columns of
    patches, `pixels` (height, width, 3) bytes, what the patches were cut from. `rollout` (T, P + E): the weights of all
    layers together. Raises InputError where the sizes disagree.
    """

    title: str
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    grid: tuple[int, int]
    readers: tuple[str, ...]
    others: tuple[str, ...]
    weights: npt.NDArray[np.floating[Any]] = field(repr=False)
    rollout: npt.NDArray[np.floating[Any]] | None = field(default=None, repr=False)
    decimals: ClassVar[int] = 4

    def __post_init__(self) -> None:
        self.check_size(len(self.readers), len(self.places) + len(self.others))

    @property
    def places(self) -> list[str]:
        """The patches' names, row by row."""
        rows, columns = self.grid
        return [f"row {row + 1}, column {column + 1}" for row in range(rows) for column in range(columns)]


def class_attention(model: Any, processor: ImageProcessor, image: Image, title: str) -> PatchAttention:
    """Where the class token of an encoder of images looks: what its head reads. Raises InputError where it has none."""
    source = _patches(model)
    if not source.extra_tokens:
        raise InputError("class_attention needs an encoder with a class token, but this one has patches alone")
    pixels = processor.pixels(image)
    output = model({"pixel_values": processor.normalised(pixels)[None]}, return_attention=True)
    weights = stacked(output.attentions)
    return PatchAttention(
        title=title,
        pixels=_cut(pixels, source),
        grid=_grid(source),
        readers=EXTRA[:1],
        others=EXTRA[: source.extra_tokens],
        weights=_patches_first(weights[:, :, :1], source),
        rollout=_patches_first(rollout(weights)[:1], source),
    )


def caption_attention(
    model: Any, processor: ImageProcessor, tokenizer: Tokenizer, image: Image, output_ids: Sequence[int]
) -> PatchAttention:
    """Where the decoder looked for each token of a caption that it wrote, end included. Raises InputError where there
    is no token."""
    if not output_ids:
        raise InputError("caption_attention needs at least one token")
    source, pixels = _patches(model), processor.pixels(image)
    batch = {
        "pixel_values": processor.normalised(pixels)[None],
        "decoder_input_ids": np.array([[model.spec.tokens.decoder_start, *output_ids[:-1]]], np.int32),
    }
    return PatchAttention(
        title=tokenizer.decode(list(output_ids)),
        pixels=_cut(pixels, source),
        grid=_grid(source),
        readers=tuple(tokenizer.tokens(list(output_ids))),
        others=EXTRA[: source.extra_tokens],
        weights=_patches_first(stacked(model(batch, return_attention=True).cross_attentions), source),
    )


def _patches(model: Any) -> PatchSpec:
    source = model.spec.source
    if not isinstance(source, PatchSpec):
        raise InputError("this needs a model that reads images")
    return source


def _grid(source: PatchSpec) -> tuple[int, int]:
    return source.image_height // source.patch_height, source.image_width // source.patch_width


def _cut(pixels: npt.NDArray[Any], source: PatchSpec) -> npt.NDArray[np.uint8]:
    """Without what fills no patch."""
    rows, columns = _grid(source)
    return np.clip(pixels[: rows * source.patch_height, : columns * source.patch_width], 0, 255).astype(np.uint8)


def _patches_first(weights: npt.NDArray[Any], source: PatchSpec) -> npt.NDArray[Any]:
    return np.roll(weights, -source.extra_tokens, axis=-1)


def strongest(matrix: npt.NDArray[np.float64], places: int) -> float:
    """The largest weight of a place, which is drawn in full colour; those of the others do not count."""
    return float(matrix[:, :places].max()) or 1.0


def png(pixels: npt.NDArray[np.uint8] | PillowImage.Image) -> str:
    """A picture as a data: URI."""
    content = BytesIO()
    image = pixels if isinstance(pixels, PillowImage.Image) else PillowImage.fromarray(pixels)
    image.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(content.getvalue()).decode("ascii")


def draw(example: PatchAttention, layer: int, head: Head, name: str) -> tuple[Markup, Markup, list[Markup]]:
    """The picture, the same without its colours under what the first reader looked at, and small ones of all readers,
    where there are several. `name` is of this picture alone in the page: the small ones show the large one's."""
    matrix = example.matrix(layer, head)
    full = strongest(matrix, len(example.places))
    heats = [_cells(example, row / full) for row in matrix]
    plain = _svg(example, LARGE, _image(example, example.pixels), label="The picture as the model reads it")
    grey = np.asarray(PillowImage.fromarray(example.pixels).convert("L"))
    large = _svg(
        example, LARGE, _image(example, grey, id=name), heats[0], label=f"Attention over the picture: {example.title}"
    )
    if len(heats) == 1:
        return plain, large, []
    copy = element("use", href=f"#{name}")
    return plain, large, [_svg(example, SMALL, copy, heat) for heat in heats]


def _svg(example: PatchAttention, side: int, *children: Markup, label: str = "") -> Markup:
    height, width = example.pixels.shape[:2]
    scale = side / max(height, width)
    said = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element(
        "svg",
        *children,
        width=round(width * scale, 1),
        height=round(height * scale, 1),
        viewBox=f"0 0 {width} {height}",
        class_="picture coarse" if max(height, width) < COARSE else "picture",
        **said,
    )


def _image(example: PatchAttention, pixels: npt.NDArray[np.uint8], **attributes: str) -> Markup:
    height, width = example.pixels.shape[:2]
    return element("image", href=png(pixels), width=width, height=height, preserveAspectRatio="none", **attributes)


def _cells(example: PatchAttention, shares: npt.NDArray[np.float64]) -> Markup:
    """A square a patch, one unit wide; shares of the strongest weight."""
    (rows, columns), (height, width) = example.grid, example.pixels.shape[:2]
    squares = [
        element(
            "rect", x=place % columns, y=place // columns, width=1, height=1, fill_opacity=opacity(float(shares[place]))
        )
        for place in range(rows * columns)
        if shares[place] > FAINT
    ]
    return element(
        "g",
        element("g", *squares, class_="cells"),
        element("g", class_="cursor"),
        transform=f"scale({width / columns:g} {height / rows:g})",
        shape_rendering="crispEdges",
        class_="plot",
    )
