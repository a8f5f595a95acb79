"""Images against texts: how well each fits each, and the vectors behind it (Radford et al. 2021, CLIP)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from regard.errors import InputError, Refused
from regard.features.image import Image, ImageProcessor, is_one, listed
from regard.features.tokenizer import Tokenizer
from regard.specs import ModelSpec, PairSpec
from regard.tasks.embed import Embedding
from regard.tasks.images import BATCH_SIZE, ImageBatches
from regard.tasks.probabilities import softmax
from regard.tasks.reading import BATCH_TOKENS, Reader, most_tokens, outputs

Vectors = NDArray[np.float32]


class Pair(Reader, Protocol):
    """Whatever reads a batch of texts or of images: our model, or an exported one."""

    def similarity(self, texts: Any, images: Any) -> Any:
        """Vectors of length 1, (texts, E) and (images, E) -> their scaled cosines, (texts, images)."""
        ...


@dataclass(frozen=True)
class Match:
    """How well an image fits each of several texts, in the order of the texts.

    logits: cosines times the model's scale, as CLIP's logits_per_image. probabilities: of each text if exactly one of
    them is true; they sum to 1. cut: how many tokens of each text were left out, since the model reads no more.
    """

    texts: tuple[str, ...]
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    cut: tuple[int, ...]

    @property
    def text(self) -> str:
        """The one that fits best."""
        return self.texts[int(np.argmax(self.logits))]

    def as_json(self) -> dict[str, Any]:
        return vars(self)


class Matcher:
    """Two encoders with their tokenizer and image processor: `matcher("photo.png", ["a cat", "a dog"])`.

    An image is a path, the bytes of a file, a Pillow image or an array; see `ImageProcessor`. A text of more than
    `max_length` tokens (77 of CLIP) is cut before its end token, as Transformers truncates, and the result says by how
    many.
    """

    def __init__(self, engine: Pair, processor: ImageProcessor, tokenizer: Tokenizer) -> None:
        self.engine, self.tokenizer = engine, tokenizer
        self.batches = ImageBatches(processor, _image_side(engine.spec))
        self.max_length = most_tokens(engine.spec, tokenizer)

    @overload
    def __call__(self, images: Image, texts: str | Sequence[str], **settings: Any) -> Match: ...

    @overload
    def __call__(self, images: Iterable[Image], texts: str | Sequence[str], **settings: Any) -> list[Match]: ...

    def __call__(
        self, images: Image | Iterable[Image], texts: str | Sequence[str], **settings: Any
    ) -> Match | list[Match]:
        """An image -> how well it fits the texts, a `Match`; several -> a list of such, in their order. `settings` are
        those of `stream`. Raises InputError, with its path or its number, for an image that cannot be read."""
        found = self.stream(listed(images), texts, **settings)
        return next(found) if is_one(images) else list(found)

    def stream(
        self,
        images: Iterable[Image],
        texts: str | Sequence[str],
        *,
        batch_size: int = BATCH_SIZE,
        refused: Refused | None = None,
    ) -> Iterator[Match]:
        """How well images fit the texts, as they come; the texts are read once, and `batch_size` images are held.

        An image that cannot be read is an InputError after those before it; or, given `refused`, has no match: its
        number, from 1, and the error are passed to that.
        """
        vectors = self.embed_images(images, batch_size=batch_size, refused=refused)
        texts = (texts,) if isinstance(texts, str) else tuple(texts)
        if not texts:
            raise InputError("there is nothing to compare images with: no texts")
        return self._stream(vectors, texts, self.embed_texts(texts))

    def embed_images(
        self, images: Iterable[Image], *, batch_size: int = BATCH_SIZE, refused: Refused | None = None
    ) -> Iterator[Vectors]:
        """The vector of each image, (E,) float32 of length 1, as they come; the product of two is their cosine.
        refused: as of `stream`."""
        batches = self.batches(images, batch_size, refused)
        return (
            vector
            for pixels in batches
            for vector in np.asarray(self.engine({"pixel_values": pixels}).image_embeds, np.float32)
        )

    def embed_texts(self, texts: Sequence[str], *, batch_tokens: int = BATCH_TOKENS) -> list[Embedding]:
        """The vectors of the texts, of length 1, in their order, and what was cut of each."""
        encodings = [self.tokenizer.encode_text(text, max_length=self.max_length) for text in texts]
        found: list[Embedding | None] = [None] * len(encodings)
        for rows, output in outputs(self.engine, encodings, batch_tokens):
            for row, vector in zip(rows, np.asarray(output.text_embeds, np.float32), strict=True):
                found[row] = Embedding(vector, len(encodings[row].ids), encodings[row].cut)
        return [embedding for embedding in found if embedding is not None]

    def _stream(
        self, vectors: Iterable[Vectors], texts: tuple[str, ...], embeddings: Sequence[Embedding]
    ) -> Iterator[Match]:
        of_texts, cut = np.stack([one.vector for one in embeddings]), tuple(one.cut for one in embeddings)
        for vector in vectors:
            logits = np.asarray(self.engine.similarity(of_texts, images=vector[None]))[:, 0]
            yield Match(texts, tuple(logits.tolist()), tuple(softmax(logits).tolist()), cut)


def _image_side(spec: ModelSpec) -> ModelSpec:
    assert isinstance(spec, PairSpec)
    return spec.image_side
