"""Who attends to what in a text, as numbers and as a heat map (Vaswani et al. 2017, section 3.2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from regard.batch import Batch
from regard.errors import InputError
from regard.explain.svg import element, printable, shorten, text_width
from regard.features.tokenizer import Tokenizer

Head = int | Literal["mean"]

CELL = 26  # side of a cell, in pixels
LABEL = 13  # font size of the tokens, in pixels
LABEL_WIDTH = 9.5  # longest token shown whole, in em
GAMMA = 0.6  # a cell's opacity is weight**GAMMA, so that a weight of 0.05 is still seen


class ByHead:
    """Weights (L, N, T, S) of attention, layer by layer and head by head: how much row t looks at column s."""

    weights: npt.NDArray[np.floating[Any]]
    decimals: ClassVar[int] = 3  # that a page shows

    @property
    def layers(self) -> int:
        """L."""
        return self.weights.shape[0]

    @property
    def heads(self) -> int:
        """N, the heads of a layer."""
        return self.weights.shape[1]

    def matrix(self, layer: int, head: Head) -> npt.NDArray[np.float64]:
        """One head's weights, or the mean over the layer's heads: (T, S), rounded to `decimals`. Both count from 0."""
        if not 0 <= layer < self.layers or (head != "mean" and not 0 <= head < self.heads):
            raise InputError(
                f"layer must be below {self.layers} and head below {self.heads}, but they are {layer} and {head}"
            )
        chosen = self.weights[layer].mean(axis=0) if head == "mean" else self.weights[layer, head]
        return np.round(np.nan_to_num(chosen.astype(np.float64)), self.decimals)

    def check_size(self, rows: int, columns: int) -> None:
        """Raise InputError unless the weights are of so many rows and columns."""
        shape = self.weights.shape
        if len(shape) != 4 or shape[2:] != (rows, columns) or 0 in shape:
            raise InputError(
                f"attention weights must be (layers, heads, {rows}, {columns}), none of them 0, but are {shape}"
            )


@dataclass(frozen=True)
class AttentionExample(ByHead):
    """One translation and where its decoder looked; or, `is_self`, one text whose tokens looked at each other.

    `weights` is (L, N, T, S) float: layer l's head n, while writing (or reading) target token t, gave source token s
    this weight; each row over S sums to 1. `rollout` (T, S): the weights of all layers together. Raises InputError
    where the sizes disagree.
    """

    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    weights: npt.NDArray[np.floating[Any]] = field(repr=False)
    source: str
    output: str
    is_self: bool = False
    rollout: npt.NDArray[np.floating[Any]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.check_size(len(self.target_tokens), len(self.source_tokens))


def cross_attention(
    model: Any, tokenizer: Tokenizer, source_ids: Sequence[int], output_ids: Sequence[int]
) -> AttentionExample:
    """Run an encoder-decoder once over a translation that it made, and keep its cross-attention.

    `source_ids` and `output_ids` are one sequence each, eos included, padding at their ends ignored. Row t of the
    weights belongs to output token t: the query is the decoder's state when it predicts that token, for which it has
    read the tokens before it. Raises InputError for an empty side.
    """
    source, output = (_without_padding(ids, tokenizer.pad_id) for ids in (source_ids, output_ids))
    if not source or not output:
        raise InputError("cross_attention needs at least one source token and one output token")
    batch = {
        "input_ids": np.array([source], np.int32),
        "attention_mask": np.ones((1, len(source)), np.int32),
        "decoder_input_ids": np.array([[model.spec.tokens.decoder_start, *output[:-1]]], np.int32),
    }
    layers = model(batch, return_attention=True).cross_attentions  # one (B,N,T,S) a layer
    return AttentionExample(
        source_tokens=tuple(tokenizer.tokens(source)),
        target_tokens=tuple(tokenizer.tokens(output)),
        weights=stacked(layers),
        source=tokenizer.decode(source),
        output=tokenizer.decode(output),
    )


def self_attention(model: Any, tokenizer: Tokenizer, batch: Batch, output: str = "") -> AttentionExample:
    """Run an encoder or a decoder once over a text, and keep which token looked at which.

    `batch` holds the one text, (1, S), without padding; `output` is what was made of it, for the title. Row t of the
    weights belongs to token t, which reads the tokens s of the layer before; with them comes the rollout.
    """
    ids = np.asarray(batch["input_ids"])[0].tolist()
    weights = stacked(model(batch, return_attention=True).attentions)
    tokens = tuple(tokenizer.tokens(ids))
    return AttentionExample(
        tokens, tokens, weights, _shown_text(tokenizer, ids), output, is_self=True, rollout=rollout(weights)
    )


def _shown_text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """What stands between separators, with a space between: a pair's second text begins without one."""
    texts: list[list[int]] = [[]]
    for token in ids:
        if token == tokenizer.sep_id:
            texts.append([])
        else:
            texts[-1].append(token)
    return " ".join(filter(None, map(tokenizer.decode, texts)))


def rollout(weights: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Self-attention of all layers, (L, N, S, S) -> (S, S): how much of each place of the input arrives at each place
    of the output, if a residual connection hands on half and the heads count alike. Rows sum to 1 (Abnar and Zuidema
    2020, section 3)."""
    arrived = np.eye(weights.shape[-1])
    for layer in weights.astype(np.float64).mean(axis=1):
        mixed = (layer + np.eye(len(layer))) / 2
        arrived = mixed / mixed.sum(axis=-1, keepdims=True) @ arrived
    return arrived


def stacked(layers: Sequence[Any]) -> npt.NDArray[np.float32]:
    """The weights of a batch's first row, (B, N, T, S) a layer -> (L, N, T, S)."""
    return np.stack([np.asarray(layer)[0].astype(np.float32) for layer in layers])


def _without_padding(ids: Sequence[int], pad_id: int | None) -> list[int]:
    kept = [int(token) for token in ids]
    while kept and kept[-1] == pad_id:
        kept.pop()
    return kept


def attention_svg(example: AttentionExample, layer: int, head: Head = "mean") -> str:
    """A heat map as an SVG document of its own, for a notebook: source tokens on x, target tokens on y.

    A cell's title is its weight. Layers and heads count from 0; raises InputError beyond them.
    """
    return printable(draw(example, layer, head, titles=True, xmlns="http://www.w3.org/2000/svg"))


def draw(example: AttentionExample, layer: int, head: Head, *, titles: bool = False, **attributes: str) -> Markup:
    """The heat map as an element of a page; titles on its squares say their weights where no script does."""
    shown = _Layout(example)
    which = "mean over heads" if head == "mean" else f"head {head + 1}"
    kind = "Self-attention" if example.is_self else "Cross-attention"
    across, down = ("looked at →", "reading ↓") if example.is_self else ("source →", "target ↓")
    label = f"{kind}, layer {layer + 1}, {which}: {example.source}" + (f" → {example.output}" if example.output else "")
    return element(
        "svg",
        element("text", across, x=shown.left - 8, y=shown.top - 22, text_anchor="end", class_="axis-name"),
        element("text", down, x=shown.left - 8, y=shown.top - 7, text_anchor="end", class_="axis-name"),
        element("g", *shown.source_labels(), class_="source-labels"),
        element("g", *shown.target_labels(), class_="target-labels"),
        element(
            "g",
            element(
                "rect", width=shown.columns, height=shown.rows, class_="ground", fill="currentColor", fill_opacity=0.04
            ),
            element(
                "g", *_cells(example, example.matrix(layer, head), titles), class_="cells", fill="var(--heat, #12508f)"
            ),
            element("g", class_="cursor"),
            transform=f"translate({shown.left:g} {shown.top:g}) scale({CELL})",
            shape_rendering="crispEdges",
            class_="plot",
        ),
        **frame(shown.width, shown.height, label),
        **attributes,
    )


def frame(width: float, height: float, label: str) -> dict[str, Any]:
    """The attributes of a heat map's svg element."""
    return {
        "width": width,
        "height": height,
        "viewBox": f"0 0 {width:g} {height:g}",
        "font_size": LABEL,
        "font_family": "system-ui, sans-serif",
        "fill": "currentColor",
        "class_": "heat-map",
        "role": "img",
        "aria_label": label,
    }


def opacity(weight: float) -> float:
    """How dark a weight is drawn, the page's legend included."""
    return round(min(max(weight, 0.0), 1.0) ** GAMMA, 3)


def visible(token: str) -> str:
    """A token as a label shows it: white space has a sign."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅"


def _cells(example: AttentionExample, matrix: npt.NDArray[np.float64], titles: bool) -> list[Markup]:
    """A square a weight, one unit wide; weights that round to 0 leave the ground as it is."""
    squares = []
    for t, s in np.argwhere(matrix > 0).tolist():
        said = f"{visible(example.target_tokens[t])} ← {visible(example.source_tokens[s])} {matrix[t, s]:.3f}"
        title = [element("title", said)] if titles else []
        squares.append(element("rect", *title, x=s, y=t, width=1, height=1, fill_opacity=opacity(matrix[t, s])))
    return squares


class _Layout:
    """Where the tokens and the cells of a heat map stand, in pixels."""

    def __init__(self, example: AttentionExample) -> None:
        self.example = example
        self.rows, self.columns = len(example.target_tokens), len(example.source_tokens)
        self.across = [shorten(visible(token), LABEL_WIDTH) for token in example.source_tokens]
        self.down = [shorten(visible(token), LABEL_WIDTH) for token in example.target_tokens]
        longest = LABEL * max(map(text_width, self.across))
        self.slanted = longest > CELL - 4
        self.left = round(max(LABEL * max(map(text_width, self.down)), LABEL * 4.5)) + 14
        self.top = round(max(0.77 * longest + 24 if self.slanted else LABEL + 12, 40))
        self.width = self.left + self.columns * CELL + (0.64 * longest if self.slanted else 0) + 8
        self.height = self.top + self.rows * CELL + 6

    def source_labels(self) -> list[Markup]:
        return [self._source_label(index, text) for index, text in enumerate(self.across)]

    def _source_label(self, index: int, text: str) -> Markup:
        x, y = self.left + (index + 0.5) * CELL, self.top - 8
        title = element("title", self.example.source_tokens[index])
        if not self.slanted:
            return element("text", title, text, x=x, y=y, text_anchor="middle")
        return element("text", title, text, transform=f"translate({x + 4:g} {y:g}) rotate(-50)")

    def target_labels(self) -> list[Markup]:
        return [
            element(
                "text",
                element("title", token),
                text,
                x=self.left - 8,
                y=self.top + (index + 0.5) * CELL + 0.35 * LABEL,
                text_anchor="end",
            )
            for index, (token, text) in enumerate(zip(self.example.target_tokens, self.down, strict=True))
        ]
