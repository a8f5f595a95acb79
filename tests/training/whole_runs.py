"""What tests of whole runs compare: what was computed and what was scored."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

_COMPUTED = {"model.safetensors", "training_state.safetensors", "config.json", "tokenizer.json"}
_COMPUTED |= {"preprocessor_config.json"}


def quiet() -> Console:
    return Console(file=io.StringIO())


def validations(directory: Path) -> list[dict[str, Any]]:
    """What the log says of each validation, but how long it took."""
    records = map(json.loads, (directory / "metrics.jsonl").read_text("utf-8").splitlines())
    return [
        {key: value for key, value in record.items() if key != "seconds"}
        for record in records
        if record["kind"] == "validation"
    ]


def bits(directory: Path) -> dict[str, str]:
    """The hashes of all that a run computed."""
    files = [path for path in sorted(directory.glob("*/**/*")) if path.name in _COMPUTED]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
