"""`regard convert`: any checkpoint that Regard reads -> a directory that Transformers loads."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from regard.commands.engine import import_tensorflow
from regard.errors import CheckpointError
from regard.tasks.locate import model_place

_MADE_ANEW = ("config.json", "generation_config.json", "regard.json", "tf_model.h5", "*.safetensors", "*.index.json")
_LISTED = 5  # names that a line has room for


class Conversion(NamedTuple):
    """What was written, and what was not."""

    path: Path
    tensors: int
    parameters: int
    bytes: int  # of all files
    dtypes: dict[str, int]  # how many tensors have each
    files: tuple[str, ...]
    tensors_left: tuple[str, ...]  # of the source: copies of tied tables, buffers, layers that the head has no use for
    files_left: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "path": str(self.path)}


def convert_model(source: str, target: Path, *, dtype: str, overwrite: bool, as_json: bool) -> None:
    """Write the model of `source` to `target`, and print what was written."""
    check_free(target, overwrite)
    place = model_place(source)
    import_tensorflow()
    done = converted(place, target, dtype)
    if as_json:
        print(json.dumps(done.as_json(), ensure_ascii=False))
        return
    held = ", ".join(f"{count} in {name}" for name, count in done.dtypes.items())
    print(f"{done.path}: {done.tensors} tensors ({held}), {done.parameters:,} parameters, {done.bytes / 1e6:,.1f} MB")
    print(f"files: {', '.join(done.files)}")
    for what, names in (("tensors", done.tensors_left), ("files", done.files_left)):
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            print(f"regard: {what} not carried over: {', '.join(names[:_LISTED])}{more}", file=sys.stderr)


def check_free(target: Path, overwrite: bool) -> None:
    """Raise CheckpointError where something is at `target` that must not go."""
    if target.exists() and not target.is_dir():
        raise CheckpointError(f"{target} is a file: a model is written to a directory")
    if target.exists() and any(target.iterdir()) and not overwrite:
        raise CheckpointError(f"{target} is not empty: --overwrite replaces the model that is there")


def converted(place: Path, target: Path, dtype: str) -> Conversion:
    """place: a model directory, a sentence-transformers directory, or a .gguf file."""
    from regard.interop.checkpoints import load_model
    from regard.interop.opening import open_checkpoint
    from regard.tasks.sentence_modules import MODULES, read_modules

    encoder = read_modules(place).encoder if (place / MODULES).is_file() else place
    stored, beside = open_checkpoint(encoder).tensors, _files(place)
    model = load_model(encoder, dtype)
    _write(model, place, encoder, target)
    inside = encoder.relative_to(place) if place.is_dir() else Path()
    return _account(model, stored, beside, target, inside)


def _write(model: Any, place: Path, encoder: Path, target: Path) -> None:
    from regard.interop.checkpoints import save_model, write_loaded
    from regard.interop.companions import companions_of, write_companions
    from regard.interop.directory import replacing

    if encoder == place:
        save_model(model, target)
        return
    with replacing(target) as directory:  # an older layout, where the encoder is a module in a directory of its own
        others = companions_of(place).items()
        write_companions({name: read for name, read in others if Path(name).parts[0] != encoder.name}, directory)
        (directory / encoder.name).mkdir()
        write_loaded(model, directory / encoder.name)


def _account(model: Any, stored: Any, beside: Iterable[str], target: Path, inside: Path) -> Conversion:
    """inside: where in `target` the model's own files are."""
    from regard.interop.accounting import Named
    from regard.interop.tensors import Tensors
    from regard.models.catalog import family

    tensors, files = Tensors.open(target / inside), _files(target)
    named = Named(stored, family(model.spec.family))
    used = {named.find(name) for name in tensors}
    return Conversion(
        path=target,
        tensors=len(tensors),
        parameters=sum(prod(tensors.shape(name)) for name in tensors),
        bytes=sum((target / name).stat().st_size for name in files),
        dtypes=dict(Counter(str(tensors.dtype(name)) for name in tensors).most_common()),
        files=files,
        tensors_left=tuple(name for name in stored if name not in used),
        files_left=tuple(name for name in beside if name not in files and not _is_made_anew(name, inside)),
    )


def _files(directory: Path) -> tuple[str, ...]:
    """Every file, by its path inside; of a .gguf file none stand beside it."""
    found = (path.relative_to(directory).as_posix() for path in sorted(directory.rglob("*")) if path.is_file())
    return tuple(found) if directory.is_dir() else ()


def _is_made_anew(name: str, inside: Path) -> bool:
    path = Path(name)
    return path.parent == inside and any(path.match(pattern) for pattern in _MADE_ANEW)
