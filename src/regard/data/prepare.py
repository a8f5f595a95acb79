"""`regard prepare`: corpora -> tokenizer and shards, once. Killed, it goes on; run again, it does nothing.

The text is read as a stream, twice: the first pass trains the tokenizer and splits validation data off, the second
writes shards. A finished shard leaves a record; the manifest comes last and makes the whole valid.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from regard.config import DataConfig, RunConfig
from regard.data.earlier import await_survey, begin, current_manifest
from regard.data.fingerprint import changed_settings, made_of, reads_stdin, stdin_copied
from regard.data.given import Given
from regard.data.heartbeat import signs_of_life
from regard.data.preparation import Preparation, Share
from regard.data.progress import Narrator
from regard.data.shards import MANIFEST, PreparedData
from regard.errors import DataError, RegardError

PAIRS_PER_SHARD = 16_384


def prepare(
    run: RunConfig,
    directory: str | Path,
    *,
    given: Callable[[], Given] | None = None,
    progress: bool = False,
    pairs_per_shard: int = PAIRS_PER_SHARD,
    workers: int = 1,
) -> PreparedData:
    """Tokenise the data of a run into `directory`, or open what is there if it was made of the same.

    What is dropped, and why, is said on stderr and kept in the manifest.

    Args:
        run: `task`, `objective`, `data` and `tokenizer` are what counts; the rest may change without another
            preparation.
        directory: made if missing; an earlier preparation in it is replaced when its inputs changed.
        given: gives what the checkpoint that the run starts from brings.
        progress: allows a bar where stderr is a terminal; plain lines otherwise.
        pairs_per_shard: pairs read for one shard; they and their tokens are what each process holds in memory.
        workers: machines that share the work: this is the first, the others call `prepare_share`. This one writes
            the shards of those that do not come, too.

    Raises:
        DataError: a file is missing or unreadable, aligned files differ in length, or nothing is left of a split.
    """
    directory, narrator = Path(directory), Narrator(progress)
    if workers > 1:
        _refuse_shared_stdin(run.data)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        alive = signs_of_life(directory) if workers > 1 else nullcontext()
        with alive, stdin_copied(run.data, directory) as data:
            brought = None if given is None else given()
            origin = made_of(run, data, brought, pairs_per_shard)
            manifest = current_manifest(directory, origin, narrator)
            if manifest is None:
                begin(directory, origin, narrator)
                work = Preparation(run, data, brought, directory, narrator, pairs_per_shard)
                manifest = work.build(origin, workers)
    except RegardError:
        raise
    except OSError as error:
        raise DataError(f"cannot prepare data in {directory}: {error}") from error
    return PreparedData(directory, manifest)


def prepare_share(
    run: RunConfig,
    directory: str | Path,
    worker: int,
    workers: int,
    *,
    given: Callable[[], Given] | None = None,
    progress: bool = False,
    pairs_per_shard: int = PAIRS_PER_SHARD,
) -> int:
    """Write the shards of worker number `worker` (from 1) of those that call `prepare` on the same directory; -> how
    many.

    Waits until worker 0 has read the corpus. It completes the data, so that nothing is lost with a worker.

    Raises:
        DataError: as `prepare`; or the corpus comes through stdin; or worker 0 gives no sign of life.
    """
    directory, narrator = Path(directory), Narrator(progress)
    _refuse_shared_stdin(run.data)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        brought = None if given is None else given()
        origin = made_of(run, run.data, brought, pairs_per_shard)
        if not await_survey(directory, origin, narrator):
            return 0
        work = Preparation(run, run.data, brought, directory, narrator, pairs_per_shard)
        return work.write_share(Share(worker, workers))
    except OSError as error:
        raise DataError(f"cannot prepare data in {directory}: {error}") from error


def _refuse_shared_stdin(data: DataConfig) -> None:
    if reads_stdin(data):
        raise DataError("a corpus on stdin (-) reaches one process: prepare it by one, without TF_CONFIG")


def open_or_prepare(
    run: RunConfig,
    directory: str | Path,
    *,
    begun: bool,
    given: Callable[[], Given] | None = None,
    progress: bool = False,
) -> PreparedData:
    """What is prepared already, where that must do; else `prepare`.

    It must do once training has begun, which needs its corpus no more, and where the corpus came through stdin, which
    is spent. Damaged data is prepared again. Raises DataError where data from stdin was prepared by other settings.
    """
    directory = Path(directory)
    if begun or (reads_stdin(run.data) and (directory / MANIFEST).exists()):
        try:
            prepared = PreparedData.open(directory)
        except DataError as error:
            Narrator(bar=False).say(f"WARNING: {error}: preparing again")
        else:
            if not begun:
                _require_same_settings(prepared, run, None if given is None else given())
            return prepared
    return prepare(run, directory, given=given, progress=progress)


def _require_same_settings(prepared: PreparedData, run: RunConfig, given: Given | None) -> None:
    changed = changed_settings(prepared.manifest["made_of"], run, given)
    if changed:
        raise DataError(
            f"{prepared.directory} was prepared from stdin by another {', '.join(changed)}: set it back, or pipe the "
            "corpus into `regard prepare` again"
        )
