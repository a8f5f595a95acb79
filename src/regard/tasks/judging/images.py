"""Images: their labels, and the texts about them by CIDEr-D, BLEU-4 and exact match, each language by itself."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from regard.batch import CaptionExample, ImageExample
from regard.data.objectives.files import opened
from regard.metrics.captions import cider_d
from regard.metrics.translation import bleu_statistics
from regard.tasks.caption import Caption, Captioner
from regard.tasks.classify import Ranking
from regard.tasks.classify_image import ImageClassifier
from regard.tasks.judging.judgement import ALL, SEARCH, Evaluation, Judgement, Settings
from regard.tasks.judging.labels import judged_labels
from regard.tasks.judging.translation import bleu_signatures

IMAGE = "image"  # the input of a judgement, which pages show as a picture
_BATCH = 64  # images


def _rankings(classifier: ImageClassifier, examples: Sequence[ImageExample], settings: Settings) -> Iterator[Ranking]:
    images = (opened(example.image) for example in examples)
    return classifier.stream(images, **{"batch_size": _BATCH, **settings})


def _labelled(examples: Sequence[ImageExample], predictions: Sequence[Ranking], settings: Settings) -> list[Judgement]:
    pairs = zip(examples, predictions, strict=True)
    return [
        judged_labels({IMAGE: example.image}, [example.label], ranking, "single_label")._replace(
            group=example.group or ALL
        )
        for example, ranking in pairs
    ]


class Described(NamedTuple):
    """An image that people say something of in a language."""

    group: str
    language: str
    image: str

    @property
    def scored(self) -> str:
        """The group of its score: a group of the data in one language."""
        return ", ".join(filter(None, (self.group, self.language))) or ALL


def described(example: CaptionExample) -> Described:
    return Described(example.group, example.language or "", example.image)


def captions_by_image(examples: Sequence[CaptionExample]) -> dict[Described, list[str]]:
    """What people say of each image in each language, in the order of the examples."""
    found: dict[Described, list[str]] = {}
    for example in examples:
        found.setdefault(described(example), []).append(example.text)
    return found


def _captions(captioner: Captioner, examples: Sequence[CaptionExample], settings: Settings) -> Iterator[Caption]:
    """One of each image in each language, however many people have said something of it."""
    for language, own in groupby(captions_by_image(examples), lambda each: each.language):
        told = {"language": language} if language and captioner.languages else {}
        yield from captioner.stream((opened(each.image) for each in own), **told, **settings)


def _captioned(
    examples: Sequence[CaptionExample], predictions: Sequence[Caption], settings: Settings
) -> list[Judgement]:
    found: list[Judgement] = []
    pairs = zip(captions_by_image(examples).items(), predictions, strict=True)
    for _, own in groupby(pairs, lambda pair: pair[0][0].scored):
        images, references, captions = zip(*((image, said, caption) for (image, said), caption in own), strict=True)
        found += _of_group(images, references, captions)
    return found


def _of_group(
    images: Sequence[Described], references: Sequence[list[str]], predictions: Sequence[Caption]
) -> list[Judgement]:
    """BLEU is of each image's first reference, CIDEr-D and exact match of all; how rare words are, a group tells."""
    texts = [caption.text for caption in predictions]
    agreement = cider_d(texts, references)
    bleu = bleu_statistics(texts, [own[0] for own in references], images[0].language)
    found = []
    for place, (image, own) in enumerate(zip(images, references, strict=True)):
        right = texts[place].strip() in {reference.strip() for reference in own}
        found.append(
            Judgement(
                inputs={IMAGE: image.image},
                reference="\n".join(own),
                output=texts[place],
                statistics={
                    "cider_d": [agreement[place], 1],
                    "bleu": bleu[place].tolist(),
                    "exact_match": [float(right), 1],
                },
                quality=agreement[place],
                right=right,
                group=image.scored,
                remark="" if right else f"CIDEr-D {agreement[place]:.1f}",
                finished=predictions[place].finished,
                languages=(None, image.language or None),
            )
        )
    return found


IMAGE_LABELS = Evaluation("classify-image", _rankings, _labelled, options=frozenset())
CAPTIONS = Evaluation(
    "caption", _captions, _captioned, signatures=bleu_signatures, order=described, options=SEARCH, pooled=False
)
