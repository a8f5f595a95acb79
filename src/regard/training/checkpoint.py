"""Training checkpoints as directories: written whole or not at all, checked before they are believed, thinned by rule.

    RUN/checkpoints/step-00001000/{..., state.json, manifest.json}

A checkpoint grows in a temporary sibling, is brought to the disk, renamed, and only then gets its manifest with the
SHA-256 of every file. So a directory without a manifest is what a kill left behind, and one whose files differ from
it is damaged. A checkpoint that is written again stands aside until its successor is whole.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from regard.errors import CheckpointError
from regard.interop.directory import read_json, sync, sync_directory, write_json

log = logging.getLogger(__name__)

MANIFEST, STATE = "manifest.json", "state.json"
_TEMPORARY, _DAMAGED, _ASIDE = ".tmp", ".damaged", ".old"
_SPARE_BYTES = 64 * 2**20  # tokenizer, configs, and the file system's own needs


class Entry(NamedTuple):
    """What the keep rules know of a checkpoint."""

    step: int
    regular: bool = True  # written by schedule; not by a signal between two validations
    rank: float | None = None  # its score, smaller is better; None: not validated
    steady: bool = True  # its step was applied, not skipped; training can be rolled back to it


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.directory / f"step-{step:08d}"

    def complete(self) -> list[Path]:
        """The checkpoints that have a manifest, oldest first; their files are not looked at."""
        return [path for path in sorted(self.directory.glob("step-*")) if _step(path) is not None and _sealed(path)]

    def write(self, step: int, fill: Callable[[Path], None], needed_bytes: int) -> Path:
        """Make the checkpoint of `step`: `fill` writes its files into the directory that it is given.

        Whatever stood under that name is replaced. Raises OSError where the disk is too full or fails; then nothing of
        it stays, and every checkpoint is as it was, an earlier one of this step too.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        _require_space(self.directory, needed_bytes + _SPARE_BYTES)
        target = self.path(step)
        temporary = target.with_name(target.name + _TEMPORARY)
        placed = False
        try:
            _recover(target)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            fill(temporary)
            sync(temporary)
            files = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
            hashes = {path.relative_to(temporary).as_posix(): _fingerprint(path) for path in files}
            if target.exists():
                target.rename(_aside(target))
            placed = True
            temporary.rename(target)
            sync_directory(self.directory)
            _seal(target, hashes)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if placed or _aside(target).exists():
                (target / MANIFEST).unlink(missing_ok=True)
                _recover(target)
            raise
        shutil.rmtree(_aside(target), ignore_errors=True)
        return target

    def recover(self) -> None:
        """Put back what stood aside when a kill came before its successor was whole."""
        for aside in sorted(self.directory.glob(f"step-*{_ASIDE}")):
            _recover(aside.with_name(aside.name.removesuffix(_ASIDE)))

    def newest_good(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint whose files are what its manifest says, and complaints about the newer ones.

        These are set aside under another name, so that training can write their steps again; where there is no good
        one, all stay where they are, for it may be the disk that gives none of them now.
        """
        self.recover()
        complaints: dict[Path, str] = {}
        for path in reversed(self.complete()):
            try:
                verify(path)
            except CheckpointError as error:
                complaints[path] = str(error)
            else:
                return path, [f"{why}; set aside as {_set_aside(damaged)}" for damaged, why in complaints.items()]
        return None, list(complaints.values())

    def none_left(self, complaints: Sequence[str] = ()) -> CheckpointError:
        """To be raised where there are checkpoints, and none of them is whole."""
        why = f": {'; '.join(complaints)}" if complaints else ""
        return CheckpointError(
            f"{self.directory} has no good checkpoint left to go on from{why}; bring one back, or remove that "
            "directory to begin anew"
        )

    def entries(self, rank: Callable[[dict[str, Any]], Entry]) -> list[Entry]:
        """`rank` of the state.json of each complete checkpoint, oldest first; one that cannot be read is left out."""
        found = []
        for path in self.complete():
            try:
                found.append(rank(read_json(path, STATE, required=True)))
            except (CheckpointError, KeyError, TypeError) as error:
                log.warning("%s: state.json cannot be read: %r", path, error)
        return found

    def thin_out(self, kept: Iterable[int]) -> None:
        """Remove what a kill left behind, and every complete checkpoint but those of the steps `kept`."""
        for leftover in self.directory.glob(f"step-*{_TEMPORARY}"):
            shutil.rmtree(leftover, ignore_errors=True)
        for path in self.directory.glob("step-*"):
            if _step(path) is not None and not _sealed(path):
                shutil.rmtree(path, ignore_errors=True)
        steps = set(kept)
        for path in self.complete():
            if _step(path) not in steps:
                _discard(path)


def plan_kept(entries: Sequence[Entry], keep_last: int, keep_best: int) -> dict[int, list[str]]:
    """step -> why it is kept: "last", "best", or else "steady" or "newest" alone; in the order of the steps.

    Only regular checkpoints count as last or best, so that stopping and going on changes neither. Of equal scores the
    earlier is the better one.
    """
    regular = sorted((entry for entry in entries if entry.regular), key=lambda entry: entry.step)
    validated = [entry for entry in regular if entry.rank is not None]
    best = sorted(validated, key=lambda entry: (entry.rank, entry.step))[:keep_best]
    reasons: dict[int, list[str]] = {}
    for why, group in (("last", regular[-keep_last:]), ("best", best)):
        for entry in group:
            reasons.setdefault(entry.step, []).append(why)
    for entry in [entry for entry in regular if entry.steady][-1:]:
        reasons.setdefault(entry.step, ["steady"])
    if entries:
        reasons.setdefault(max(entry.step for entry in entries), ["newest"])
    return dict(sorted(reasons.items()))


def verify(path: Path) -> None:
    """Hold every file of a checkpoint against its manifest. Raises CheckpointError that names the first bad file."""
    files = read_json(path, MANIFEST, required=True).get("files")
    if not isinstance(files, dict):
        raise CheckpointError(f"{path / MANIFEST} is damaged: it lists no files")
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path} is damaged: {name} is missing")
        try:
            found = _fingerprint(file)
        except OSError as error:  # of the disk: the checkpoint before it may be whole
            raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from error
        if found != expected:
            same_size = isinstance(expected, dict) and found["bytes"] == expected.get("bytes")
            what = "SHA-256" if same_size else "size"
            raise CheckpointError(f"{file} is damaged: its {what} is not what {MANIFEST} says")


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's files are what its manifest says."""
    try:
        verify(path)
    except CheckpointError:
        return False
    return True


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _seal(path: Path, files: dict[str, Any]) -> None:
    draft = MANIFEST + _TEMPORARY
    write_json(path, draft, {"files": files})
    with open(path / draft, "rb") as file:
        os.fsync(file.fileno())
    os.replace(path / draft, path / MANIFEST)
    sync_directory(path)


def _sealed(path: Path) -> bool:
    return (path / MANIFEST).is_file()


def _aside(path: Path) -> Path:
    return path.with_name(path.name + _ASIDE)


def _recover(path: Path) -> None:
    """Leave one checkpoint of a step: the one that stands aside, unless its successor is whole."""
    aside = _aside(path)
    if _sealed(path):
        shutil.rmtree(aside, ignore_errors=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
        if aside.exists():
            aside.rename(path)
            sync_directory(path.parent)


def _set_aside(path: Path) -> str:
    """A damaged checkpoint, under another name: -> that."""
    aside = path.with_name(path.name + _DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    return aside.name


def _discard(path: Path) -> None:
    """The manifest goes first: a kill in between leaves an incomplete checkpoint, not a damaged one. What cannot go now
    (a file that somebody holds open over a network) goes at the next thinning out."""
    if path.exists():
        (path / MANIFEST).unlink(missing_ok=True)
        sync_directory(path)
        shutil.rmtree(path, ignore_errors=True)


def _step(path: Path) -> int | None:
    number = path.name.removeprefix("step-")
    return int(number) if number.isdecimal() else None


def _require_space(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OSError(f"{directory} has {free / 2**20:,.0f} MiB free, but a checkpoint needs {needed / 2**20:,.0f} MiB")
