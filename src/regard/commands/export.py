"""`regard export`: a model for a runtime without TensorFlow."""

import sys
from pathlib import Path

from regard.commands.engine import require_openvino
from regard.errors import InputError
from regard.tasks.locate import model_place


def export_model(model: str, directory: Path, *, weights: str, shortlist: Path | None, overwrite: bool) -> None:
    """Write it, and say on stderr what was written and how it is used."""
    require_openvino()
    if directory.is_dir() and any(directory.iterdir()) and not overwrite:
        raise InputError(f"{directory} is not empty: give another directory, or --overwrite")
    place = model_place(model)
    from regard.export.openvino_model import export_openvino

    export_openvino(place, directory, weights=weights, shortlist=shortlist)  # type: ignore[arg-type]  # a choice's
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    print(f"{directory}: OpenVINO, weights in {weights}, {size / 1e6:,.1f} MB", file=sys.stderr)
