"""`regard caption`: images in, texts out."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from regard.commands.images import paths_of, print_image, with_results
from regard.commands.lines import load_task, print_columns
from regard.commands.refusals import Refusals
from regard.commands.text import warn_of_unfinished


def caption_images(
    model: str,
    images: Sequence[str],
    file: Path | None,
    *,
    names: bool,
    n_best: int | None,
    batch_size: int,
    as_json: bool,
    runtime: Mapping[str, str],
    **options: Any,
) -> None:
    """Print the caption of each image as soon as its batch is done. Raises PartlyDone, at the end, where some
    could not be read."""
    paths = paths_of(images, file)
    captioner = load_task(model, "caption", **runtime)
    options["return_scores"] = as_json or n_best is not None
    if n_best is not None:
        options["num_return_sequences"] = n_best
    refusals = Refusals("images", paths)
    captions = with_results(paths, partial(captioner.stream, **options), batch_size, refusals)
    count = unfinished = 0
    try:
        for number, path, caption in captions:
            count += 1
            named = [path] if names else []
            if as_json:
                print_image(path, caption.as_json())
            elif n_best is None:
                print_columns(*named, caption.text)
            else:
                for entry in (caption, *caption.alternatives):
                    print_columns(*(named or [str(number)]), entry.score, entry.text)
            unfinished += not caption.finished
    finally:
        warn_of_unfinished(unfinished, count, "captions")
    refusals.check()
