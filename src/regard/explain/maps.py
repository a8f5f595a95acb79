"""The heat maps of a page: what each kind is called, what is drawn first, and what the script draws from."""

from typing import Any, NamedTuple

from markupsafe import Markup

from regard.explain import attention, patches, sounds
from regard.explain.attention import AttentionExample, Head
from regard.explain.patches import PatchAttention
from regard.explain.sounds import SoundAttention

Mapped = AttentionExample | PatchAttention | SoundAttention

MAX_WEIGHTS = 86_400  # an example: 6 layers of 8 heads and their mean over 40 x 40 tokens, some 200 kB
ROLLOUT = "all, rolled out"


class About(NamedTuple):
    """heading, lead: of the section. unit: what a square is. said: what stands before and after the row's name, above
    the list of what it looks at most."""

    heading: str
    lead: Markup
    unit: str
    said: tuple[str, str]


_PAPER = "section 3.2.3 of <cite>Attention Is All You Need</cite>"
_HEADS = (
    " Each layer has several heads, which look in different ways (section 3.2.2 of <cite>Attention Is All You Need"
    "</cite>); their mean is shown first."
)
_SCALE = " Full colour is the strongest weight of the picture, which the scale names."

TEXTS = About(
    "Cross-attention",
    Markup(
        "While the decoder writes a target token (a row), it looks back at the source: it spreads a weight of 1 over "
        "the source tokens (the columns), and reads most from where the square is strongest. This is cross-attention, "
        f"{_PAPER}. Each layer has several heads, which look in different ways (section 3.2.2); their mean is shown "
        "first."
    ),
    "square",
    ("Writing ", ", the decoder looks at"),
)
READ = About(
    "Self-attention",
    Markup(
        "Each token (a row) looks at the tokens of its text (the columns): it spreads a weight of 1 over them, and "
        "takes most from where the square is strongest. This is self-attention, by which a token comes to know what "
        f"it stands beside, {_PAPER}; a language model’s tokens look back alone. A label is read off the first token, "
        f"where the network has one for that; tags, and where an answer begins and ends, off each.{_HEADS} Weights of "
        f"one layer are of what those before have mixed; “{ROLLOUT}” multiplies the layers’ means out, with half of "
        "each place handed on as it is (Abnar and Zuidema 2020). Neither says that the outcome hangs on a token."
    ),
    "square",
    ("While it reads ", ", the network looks at"),
)
CLASSES = About(
    "Attention over the picture",
    Markup(
        "The picture is read as patches. The label is read off the class token, a learned vector beside them, and what "
        "it knows of the picture it has by attention: here is the weight that it gives each patch, layer by layer."
        f"{_HEADS} Weights of one layer are of what the layers before have mixed already; “{ROLLOUT}” multiplies the "
        "layers’ means out, with half of each place handed on as it is (Abnar and Zuidema 2020). Neither says that the "
        f"label hangs on a patch.{_SCALE}"
    ),
    "patch",
    ("The ", " looks at"),
)
CAPTIONS = About(
    "Attention over the picture",
    Markup(
        "While the decoder writes a token, it looks at the encoder’s patches of the picture: it spreads a weight of 1 "
        f"over them and the class token. This is cross-attention, {_PAPER}; choose a token to see its own.{_HEADS} "
        "What stands at a patch has been mixed with the others by the encoder, so the place says less than in the "
        f"picture itself.{_SCALE}"
    ),
    "patch",
    ("Writing ", ", the decoder looks at"),
)
TRANSCRIPTS = About(
    "Tokens over time",
    Markup(
        "While the decoder writes a token (a row), it looks at the encoder’s places of the recording, one for two "
        "frames; under them is the spectrogram that the encoder read, low frequencies at the bottom. This is "
        f"cross-attention, {_PAPER}. Nothing tells it that time runs forward in both: where the rows go down a "
        f"diagonal, it has learned that.{_HEADS}{_SCALE}"
    ),
    "moment",
    ("Writing ", ", the decoder listens to"),
)
PATHS = About(
    "Tokens over time",
    Markup(
        "Each of the encoder’s places, one for two frames, says a token or the blank; the likeliest of each is shown "
        "here, as strong as it is likely, in the row of the text’s token that it stands for (Graves et al. 2006). "
        f"Under them is the spectrogram that the encoder read, low frequencies at the bottom.{_SCALE}"
    ),
    "moment",
    ("", " is the likeliest token, and so likely, at"),
)


def about(example: Mapped) -> About:
    """What its section says."""
    match example:
        case SoundAttention():
            return PATHS if example.by_frames else TRANSCRIPTS
        case PatchAttention():
            return CAPTIONS if example.rollout is None else CLASSES
        case _:
            return READ if example.is_self else TEXTS


class Map:
    """A heat map of the page, and the weights that its script chooses from. number: among the page's maps."""

    def __init__(self, example: Mapped, number: int = 0) -> None:
        self.example, self.about = example, about(example)
        L, N, T, S = example.weights.shape
        self.means_only = N > 1 and L * (N + 1) * T * S > MAX_WEIGHTS
        self.first: Head = "mean" if N > 1 else 0
        shown, self.svg = (example.layers - 1, self.first), Markup("")
        self.pictures: tuple[Markup, ...] = ()  # as it is, and under what is looked at
        self.readers: list[tuple[str, Markup]] = []  # each token with its small picture
        self.name = f"picture-{number}"
        if isinstance(example, PatchAttention):
            plain, large, small = patches.draw(example, *shown, self.name)
            self.pictures = (plain, large)
            self.readers = [(attention.visible(token), svg) for token, svg in zip(example.readers, small, strict=False)]
        elif isinstance(example, SoundAttention):
            self.svg = sounds.draw(example, *shown)
        else:
            self.svg = attention.draw(example, *shown)

    @property
    def heads(self) -> list[Head]:
        if self.means_only or self.example.heads == 1:
            return [self.first]
        return ["mean", *range(self.example.heads)]

    @property
    def layers(self) -> list[str]:
        """The choices, the last layer of the network last; behind it all of them, where that says something."""
        names = [str(layer + 1) for layer in range(self.example.layers)]
        return [*names, ROLLOUT] if self._rollout is not None else names

    @property
    def is_placed(self) -> bool:
        """Whether a square stands for a place in a picture or a recording, and full colour is the strongest weight."""
        return not isinstance(self.example, AttentionExample)

    @property
    def is_path(self) -> bool:
        """Whether it is no attention, but what each place says."""
        return self.about is PATHS

    @property
    def most(self) -> str:
        """The weight of full colour, as the scale names it."""
        if isinstance(self.example, AttentionExample):
            return "1"
        matrix = self.example.matrix(self.example.layers - 1, self.first)
        return f"{patches.strongest(matrix, len(self.example.places)):.3f}"

    @property
    def data(self) -> dict[str, Any]:
        """Names of rows and columns, and weights in parts of `per`: layer, head (as in `heads`), then the rows one
        after the other; of all layers together there is one head. drawn: columns that have a place."""
        weights = [[self._parts(layer, head) for head in self.heads] for layer in range(self.example.layers)]
        per = 10**self.example.decimals
        if self._rollout is not None:
            weights.append([[round(per * weight) for weight in self._rollout.ravel().tolist()]])
        source, target = self._names
        data = {"source": source, "target": target, "weights": weights, "per": per, "said": self.about.said}
        if isinstance(self.example, AttentionExample):
            return data
        drawn = {"drawn": len(self.example.places), "least": patches.FAINT}
        if isinstance(self.example, PatchAttention):
            return {**data, **drawn, "across": self.example.grid[1]}
        return {**data, **drawn, "below": sounds.SPECTROGRAM / sounds.ROW}

    @property
    def _names(self) -> tuple[list[str], list[str]]:
        if isinstance(self.example, AttentionExample):
            columns, rows = self.example.source_tokens, self.example.target_tokens
        else:
            columns, rows = (*self.example.places, *self.example.others), self.example.readers
        tokens_across, tokens_down = not self.is_placed, self.about is not CLASSES
        return (
            [attention.visible(name) for name in columns] if tokens_across else list(columns),
            [attention.visible(name) for name in rows] if tokens_down else list(rows),
        )

    @property
    def _rollout(self) -> Any:
        return None if isinstance(self.example, SoundAttention) else self.example.rollout

    def _parts(self, layer: int, head: Head) -> list[int]:
        per = 10**self.example.decimals
        return [round(per * weight) for weight in self.example.matrix(layer, head).ravel().tolist()]
