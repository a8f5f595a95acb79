"""`regard similarity`: images and texts in, how well each fits each out; or the vectors of both."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from regard.commands.images import paths_of, print_image, with_results
from regard.commands.lines import load_task, print_columns, warn_of_cut
from regard.commands.refusals import Refusals
from regard.commands.text import open_lines
from regard.errors import InputError


def compare_images(
    model: str,
    texts: Sequence[str],
    text_file: Path | None,
    images: Sequence[str],
    file: Path | None,
    *,
    vectors: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Print how well each image fits each text, or the vectors of the images and of the texts. Raises PartlyDone, at
    the end, where some images could not be read."""
    texts = _texts(texts, text_file)
    if not texts and not vectors:
        raise InputError("there is nothing to compare images with: give texts, or --text-file")
    alone = vectors and texts and not images and file is None
    paths = () if alone else paths_of(images, file)
    matcher, refusals = load_task(model, "similarity"), Refusals("images", paths)
    if vectors:
        vectors_of = with_results(paths, matcher.embed_images, batch_size, refusals)
        _print_vectors(matcher, vectors_of, texts, as_json)
    else:
        matches = with_results(paths, partial(matcher.stream, texts=texts), batch_size, refusals)
        _print_matches(matches, as_json)
    refusals.check()


def _texts(texts: Sequence[str], file: Path | None) -> list[str]:
    if texts and file is not None:
        raise InputError("give either texts or --text-file, and not both")
    return list(texts) if file is None else list(open_lines(file))


def _print_matches(matches: Iterable[tuple[int, str, Any]], as_json: bool) -> None:
    for place, (_, path, match) in enumerate(matches):
        if not place:
            _warn_of_cuts(match.cut)
        if as_json:
            print_image(path, match.as_json())
            continue
        for text, probability, logit in zip(match.texts, match.probabilities, match.logits, strict=True):
            print_columns(path, text, probability, logit)


def _print_vectors(
    matcher: Any, of_images: Iterable[tuple[int, str, Any]], texts: Sequence[str], as_json: bool
) -> None:
    for _, path, vector in of_images:
        if as_json:
            print_image(path, {"embedding": vector.tolist()})
        else:
            _print_vector(vector)
    embeddings = matcher.embed_texts(texts)
    _warn_of_cuts([embedding.cut for embedding in embeddings])
    for text, embedding in zip(texts, embeddings, strict=True):
        if as_json:
            print(json.dumps({"text": text, **embedding.as_json()}, ensure_ascii=False), flush=True)
        else:
            _print_vector(embedding.vector)


def _print_vector(vector: Any) -> None:
    print(" ".join(f"{value:.6f}" for value in vector.tolist()), flush=True)


def _warn_of_cuts(cuts: Sequence[int]) -> None:
    for number, cut in enumerate(cuts, 1):
        warn_of_cut(number, cut, "text")
