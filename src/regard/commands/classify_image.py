"""`regard classify-image`: images in, labels out."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from regard.commands.images import paths_of, print_image, with_results
from regard.commands.lines import load_task, print_columns
from regard.commands.refusals import Refusals


def classify_images(
    model: str, images: Sequence[str], file: Path | None, *, names: bool, top_k: int, batch_size: int, as_json: bool
) -> None:
    """Print the best labels of each image as soon as its batch is done. Raises PartlyDone, at the end, where some
    could not be read."""
    paths = paths_of(images, file)
    classifier = load_task(model, "classify-image")
    refusals = Refusals("images", paths)
    for _, path, ranking in with_results(paths, partial(classifier.stream, top_k=top_k), batch_size, refusals):
        if as_json:
            print_image(path, ranking.as_json())
        else:
            print_columns(*([path] if names else []), *(value for entry in ranking.scores for value in entry))
    refusals.check()
