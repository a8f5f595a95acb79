"""Which moment of a recording each written token is of, above the recording's log-mel spectrogram."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image as PillowImage

from regard.decoding.frames import collapsed
from regard.explain.attention import LABEL, LABEL_WIDTH, ByHead, Head, frame, opacity, stacked, visible
from regard.explain.patches import FAINT, png, strongest
from regard.explain.svg import brief, element, shorten, text_width, ticks
from regard.features.audio import Window
from regard.features.tokenizer import Tokenizer
from regard.tasks.probabilities import softmax

ROW, SPECTROGRAM = 22, 110  # heights of a token's row and of the spectrogram, in pixels
WIDTH, NARROWEST, WIDEST = 720, 2.0, 24.0  # of all places together, unless one would be narrower or wider than this
BLANK, SILENCE = "(blank)", "silence behind it"
_RAMP = ((0, 0, 12), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))  # quiet to loud


@dataclass(frozen=True)
class SoundAttention(ByHead):
    """A recording and where each token is in it.

    `weights` is (L, N, T, P + E) float: of token `readers[t]` at the encoder's place p, and after the P places that the
    recording fills, what falls on `others`. `features` (A, M) is the log-mel spectrogram of these places, two frames
    each, `seconds` how long they last. `by_frames`: the weights are how likely a place's likeliest token is, as
    connectionist temporal classification has it; else they are cross-attention, and each row sums to 1. Raises
    InputError where the sizes disagree.
    """

    title: str
    features: npt.NDArray[np.floating[Any]] = field(repr=False)
    seconds: float
    readers: tuple[str, ...]
    others: tuple[str, ...]
    weights: npt.NDArray[np.floating[Any]] = field(repr=False)
    by_frames: bool = False
    decimals: ClassVar[int] = 4

    def __post_init__(self) -> None:
        self.check_size(len(self.readers), len(self.places) + len(self.others))

    @property
    def places(self) -> list[str]:
        """The places' names: when each begins."""
        count = math.ceil(len(self.features) / 2)
        return [f"{place * self.seconds / count:.2f} s" for place in range(count)]


class Spoken(NamedTuple):
    """What was written about a window. ids: what follows the prompt, end included."""

    window: Window
    prompt: list[int]
    ids: list[int]


def transcript_attention(model: Any, tokenizer: Tokenizer, spoken: Spoken, frame_seconds: float) -> SoundAttention:
    """Where the decoder of a speech model looked for each token that it wrote about a window."""
    features = spoken.window.features
    decoder_ids = np.array([[*spoken.prompt, *spoken.ids[:-1]]], np.int32)
    batch = {"input_features": features[None], "decoder_input_ids": decoder_ids}
    weights = stacked(model(batch, return_attention=True).cross_attentions)[:, :, len(spoken.prompt) - 1 :]
    places = _filled(spoken.window)
    behind = weights[..., places:].sum(axis=-1, keepdims=True)
    has_silence = weights.shape[-1] > places
    return SoundAttention(
        title=tokenizer.decode(spoken.ids).strip(),
        features=features[: 2 * places],
        seconds=2 * places * frame_seconds,
        readers=tuple(tokenizer.tokens(spoken.ids)),
        others=(SILENCE,) if has_silence else (),
        weights=np.concatenate([weights[..., :places], behind], axis=-1) if has_silence else weights,
    )


def frame_labels(model: Any, tokenizer: Tokenizer, window: Window, blank: int, frame_seconds: float) -> SoundAttention:
    """The likeliest path of a model without a decoder: a row for each token of the text, in order, and one for the
    blank, which hold the probability of each place that says them."""
    places = _filled(window)
    logits = np.asarray(model({"input_features": window.features[None]}).logits, np.float64)[0, :places]
    best, likely = logits.argmax(axis=-1), softmax(logits).max(axis=-1)
    (ids,) = (list(row) for row in collapsed(best[None], blank))
    begins = np.concatenate([[True], best[1:] != best[:-1]]) & (best != blank)
    rows = np.where(best == blank, len(ids), np.cumsum(begins) - 1)
    weights = np.zeros((1, 1, len(ids) + 1, places))
    weights[0, 0, rows, np.arange(places)] = likely
    return SoundAttention(
        title=tokenizer.decode(ids).strip(),
        features=window.features[: 2 * places],
        seconds=2 * places * frame_seconds,
        readers=(*tokenizer.tokens(ids), BLANK),
        others=(),
        weights=weights,
        by_frames=True,
    )


def _filled(window: Window) -> int:
    """The encoder's places that the recording reaches into: two frames each."""
    return max(1, math.ceil(window.real_frames / 2))


def spectrogram(features: npt.NDArray[np.floating[Any]]) -> str:
    """(A, M) log-mel frames as a picture, time to the right, low at the bottom: a data: URI."""
    low, high = float(features.min()), float(features.max())
    levels = np.round(255 * (features - low) / ((high - low) or 1)).astype(np.uint8)
    image = PillowImage.fromarray(np.ascontiguousarray(levels.T[::-1]))
    anchors = np.linspace(0, 255, len(_RAMP))
    ramp = [np.interp(np.arange(256), anchors, [colour[channel] for colour in _RAMP]) for channel in range(3)]
    image.putpalette(np.stack(ramp, axis=1).round().astype(np.uint8).ravel().tolist())
    return png(image)


def draw(example: SoundAttention, layer: int, head: Head) -> Markup:
    """Tokens downwards, time to the right, the spectrogram under them on the same axis."""
    count, rows = len(example.places), len(example.readers)
    step = min(max(WIDTH / count, NARROWEST), WIDEST)
    down = [shorten(visible(token), LABEL_WIDTH) for token in example.readers]
    left = round(max(LABEL * max(map(text_width, down)), LABEL * 5)) + 14
    top, width, height = 8, count * step, rows * ROW
    matrix = example.matrix(layer, head)
    ground = element("rect", width=count, height=rows, class_="ground", fill="currentColor", fill_opacity=0.04)
    cells = element("g", *_cells(matrix[:, :count]), class_="cells", fill="var(--heat, #12508f)")
    heard = element(
        "image",
        href=spectrogram(example.features),
        y=rows + 0.2,
        width=count,
        height=SPECTROGRAM / ROW,
        preserveAspectRatio="none",
    )
    bottom = top + height + 0.2 * ROW + SPECTROGRAM
    return element(
        "svg",
        element("g", *_labels(example.readers, down, left - 8, top), class_="target-labels"),
        element("text", "mels", x=left - 8, y=bottom - SPECTROGRAM / 2, text_anchor="end", class_="axis-name"),
        element("g", *_times(example.seconds, left, width, bottom), class_="times"),
        element(
            "g",
            ground,
            cells,
            heard,
            element("g", class_="cursor"),
            transform=f"translate({left} {top}) scale({step:g} {ROW})",
            shape_rendering="crispEdges",
            class_="plot",
        ),
        **frame(left + width + 24, bottom + 24, f"Tokens over time, above the spectrogram: {example.title}"),
    )


def _labels(tokens: Sequence[str], shown: Sequence[str], right: float, top: float) -> list[Markup]:
    return [
        element(
            "text",
            element("title", token),
            text,
            x=right,
            y=top + (index + 0.5) * ROW + 0.35 * LABEL,
            text_anchor="end",
        )
        for index, (token, text) in enumerate(zip(tokens, shown, strict=True))
    ]


def _times(seconds: float, left: float, width: float, top: float) -> list[Markup]:
    marks = [
        (left + width * time / seconds, f"{brief(time)} s") for time in ticks(0, seconds, max(2, round(width / 80)))
    ]
    return [
        piece
        for x, text in marks
        for piece in (
            element("line", x1=x, x2=x, y1=top, y2=top + 4, stroke="currentColor"),
            element("text", text, x=x, y=top + 17, text_anchor="middle", class_="axis-name"),
        )
    ]


def _cells(matrix: npt.NDArray[np.float64]) -> list[Markup]:
    full = strongest(matrix, matrix.shape[1])
    return [
        element("rect", x=place, y=row, width=1, height=1, fill_opacity=opacity(matrix[row, place] / full))
        for row, place in np.argwhere(matrix > FAINT * full).tolist()
    ]
