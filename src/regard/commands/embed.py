"""`regard embed`: lines in, vectors out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regard.commands.lines import answered, lines_of, load_task, print_columns, print_json, warn_of_cut
from regard.errors import InputError


def embed_texts(
    model: str, texts: Sequence[str], file: Path | None, *, similarity: bool, as_json: bool, **settings: Any
) -> None:
    """Print the vector of each text, or how near all are to all."""
    lines = lines_of(texts, file)
    embedder = load_task(model, "embed")
    vectors = []
    for number, embedding in answered(lines, lambda block: embedder(block, **settings)):
        warn_of_cut(number, embedding.cut)
        if similarity:
            vectors.append(embedding.vector)
        elif as_json:
            print_json(embedding)
        else:
            print(" ".join(f"{value:.6f}" for value in embedding.vector.tolist()), flush=True)
    if similarity:
        if not vectors:
            raise InputError("there is nothing to compare: no texts")
        table = embedder.compare(np.stack(vectors), np.stack(vectors)).tolist()
        if as_json:
            print(json.dumps({"similarity": table}))
        else:
            for row in table:
                print_columns(*row)
