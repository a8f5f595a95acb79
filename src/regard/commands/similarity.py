"""`regard similarity`: images and texts in, how well each fits each out; or the vectors of both."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from regard.commands.images import paths_of, print_image, with_results
from regard.commands.lines import load_task, print_columns, warn_of_cut
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
    """Print how well each image fits each text, or the vectors of the images and of the texts."""
    texts = _texts(texts, text_file)
    if not texts and not vectors:
        raise InputError("there is nothing to compare images with: give texts, or --text-file")
    alone = vectors and texts and not images and file is None
    paths = () if alone else paths_of(images, file)
    matcher = load_task(model, "similarity")
    if vectors:
        _print_vectors(matcher, paths, texts, batch_size, as_json)
    else:
        _print_matches(matcher, paths, texts, batch_size, as_json)


def _texts(texts: Sequence[str], file: Path | None) -> list[str]:
    if texts and file is not None:
        raise InputError("give either texts or --text-file, and not both")
    return list(texts) if file is None else list(open_lines(file))


def _print_matches(matcher: Any, paths: Iterable[str], texts: Sequence[str], batch_size: int, as_json: bool) -> None:
    matches = with_results(paths, lambda read, size: matcher.stream(read, texts, batch_size=size), batch_size)
    for number, (path, match) in enumerate(matches):
        if not number:
            _warn_of_cuts(match.cut)
        if as_json:
            print_image(path, match.as_json())
            continue
        for text, probability, logit in zip(match.texts, match.probabilities, match.logits, strict=True):
            print_columns(path, text, probability, logit)


def _print_vectors(matcher: Any, paths: Iterable[str], texts: Sequence[str], batch_size: int, as_json: bool) -> None:
    of_images = with_results(paths, lambda read, size: matcher.embed_images(read, batch_size=size), batch_size)
    for path, vector in of_images:
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
