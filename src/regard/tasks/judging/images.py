"""Images: their labels, and the texts about them by CIDEr-D, BLEU-4 and exact match."""

from collections.abc import Iterator, Sequence
from typing import Any

from regard.batch import CaptionExample, ImageExample
from regard.data.objectives.files import opened
from regard.metrics.captions import cider_d
from regard.metrics.translation import bleu_statistics, signatures
from regard.tasks.caption import Caption, Captioner
from regard.tasks.classify import Ranking
from regard.tasks.classify_image import ImageClassifier
from regard.tasks.judging.judgement import ALL, Evaluation, Judgement, Settings
from regard.tasks.judging.labels import judged_labels

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


def captions_by_image(examples: Sequence[CaptionExample]) -> dict[str, list[str]]:
    """What people say of each image, in the order of the images."""
    found: dict[str, list[str]] = {}
    for example in examples:
        found.setdefault(example.image, []).append(example.text)
    return found


def _captions(captioner: Captioner, examples: Sequence[CaptionExample], settings: Settings) -> Iterator[Caption]:
    """One of each image, however many people have said something of it."""
    return captioner.stream((opened(image) for image in captions_by_image(examples)), **settings)


def _captioned(
    examples: Sequence[CaptionExample], predictions: Sequence[Caption], settings: Settings
) -> list[Judgement]:
    """BLEU is of each image's first reference, CIDEr-D and exact match of all."""
    references = captions_by_image(examples)
    texts, first = [caption.text for caption in predictions], [own[0] for own in references.values()]
    agreement = cider_d(texts, list(references.values()))
    bleu = bleu_statistics(texts, first)
    found = []
    for place, (image, own) in enumerate(references.items()):
        right = texts[place].strip() in {reference.strip() for reference in own}
        found.append(
            Judgement(
                inputs={IMAGE: image},
                reference="\n".join(own),
                output=texts[place],
                statistics={
                    "cider_d": [agreement[place], 1],
                    "bleu": bleu[place].tolist(),
                    "exact_match": [float(right), 1],
                },
                quality=agreement[place],
                right=right,
                remark="" if right else f"CIDEr-D {agreement[place]:.1f}",
                finished=predictions[place].finished,
            )
        )
    return found


def _signatures(judgements: Sequence[Judgement]) -> dict[str, Any]:
    return {"bleu": signatures()["bleu"]}


IMAGE_LABELS = Evaluation("classify-image", _rankings, _labelled)
CAPTIONS = Evaluation("caption", _captions, _captioned, signatures=_signatures, writes=True)
