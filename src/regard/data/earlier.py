"""What an earlier preparation left in a directory: whole, to be gone on with, or to be cleared."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from regard.data.fingerprint import differences
from regard.data.heartbeat import Watch
from regard.data.progress import SECONDS_BETWEEN_LINES, Narrator
from regard.data.shards import MANIFEST, SPLITS, damaged_files, read_manifest, write_file
from regard.errors import DataError
from regard.features.processor_config import FILE as PROCESSOR
from regard.features.tokenizer_files import CHAT_TEMPLATES

UNFINISHED = "unfinished.json"  # what the files in the directory are made of, as long as there is no manifest
SURVEY = "survey.json"
COMPANIONS = (
    PROCESSOR,
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.json", "vocab.txt", "merges.txt", "source.spm", "target.spm", "spiece.model", "sentencepiece.bpe.model"),
    "tokenizer.model",
)


def current_manifest(directory: Path, origin: dict[str, Any], narrator: Narrator) -> dict[str, Any] | None:
    """The manifest of an earlier preparation that is whole and made of the same; else None, and why is said."""
    try:
        manifest = read_manifest(directory)
    except DataError as error:
        narrator.say(f"{error}; preparing again")
        return None
    if manifest is None:
        return None
    changed = differences(manifest["made_of"], origin)
    if changed:
        narrator.say(f"{directory}: changed since it was prepared: {', '.join(changed)}; preparing again")
        return None
    damaged = list(damaged_files(directory, manifest["files"]))
    if damaged:
        narrator.say(f"{directory}: missing or damaged: {', '.join(damaged)}; preparing again")
        return None
    narrator.say(f"{directory}: prepared already, nothing to do")
    return manifest


def begin(directory: Path, origin: dict[str, Any], narrator: Narrator) -> None:
    """Keep what an interrupted preparation of the same inputs left; clear everything else that prepare wrote."""
    begun = json.dumps(origin, sort_keys=True).encode()
    unfinished = directory / UNFINISHED
    if not (directory / MANIFEST).exists() and unfinished.exists() and unfinished.read_bytes() == begun:
        narrator.say(f"{directory}: going on with an interrupted preparation")
        return
    for name in (MANIFEST, UNFINISHED, SURVEY, *COMPANIONS):
        (directory / name).unlink(missing_ok=True)
    for split in SPLITS:
        for file in directory.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9]*.*"):
            file.unlink(missing_ok=True)
    shutil.rmtree(directory / CHAT_TEMPLATES, ignore_errors=True)
    clear_cut_short(directory)
    write_file(unfinished, begun)


def clear_cut_short(directory: Path) -> None:
    """Remove what a process that was killed had half written."""
    for file in directory.glob("*.tmp"):
        file.unlink(missing_ok=True)


def await_survey(directory: Path, origin: dict[str, Any], narrator: Narrator) -> bool:
    """Wait until worker 0 has read the corpus and begun to write; False where all is prepared already. Raises DataError
    where worker 0 gives no sign of life."""
    begun = json.dumps(origin, sort_keys=True).encode()
    said, watch = 0.0, Watch(directory)
    while True:
        manifest, unfinished = _read(directory / MANIFEST), _read(directory / UNFINISHED)
        if manifest and not differences(json.loads(manifest)["made_of"], origin):
            return False
        if unfinished == begun and (directory / SURVEY).exists():
            return True
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            odd = differences(json.loads(unfinished), origin) if unfinished else []
            last = f"; what is begun there has another {', '.join(odd)}" if odd else ""
            narrator.say(f"{directory}: waiting until worker 0 has read the corpus{last}")
        watch.look()
        time.sleep(0.1)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
