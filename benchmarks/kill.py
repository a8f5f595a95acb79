"""Kills training at any moment of its life, goes on with it, and compares all that it leaves behind, bit by bit.

    python benchmarks/kill.py [--kills 100] [--steps 45] [--seed 0]

One small run is trained undisturbed, twice, and then again and again under fire: a process trains, is killed with
SIGKILL, and another goes on in the same directory, until one lives to the end. Then the model, each checkpoint and the
log must equal the undisturbed run's; only clocks are left out.

Half of the kills come at a moment drawn over the whole of what a process still has to live. The others are aimed, each
at a phase drawn from all of them, the short ones too: preparing the data, starting (building the network, reading a
checkpoint, tracing), training, validating, writing a checkpoint, writing the model; and there at a moment drawn over
what that phase took undisturbed. A process says which phase it is in by a byte that it shares with the one that kills
it; the report counts the kills by it, and how many left something half-written.

Processes are forked from one that has imported TensorFlow and done nothing with it, which saves 5 s each; the
source must not be edited meanwhile, for TensorFlow reads it when it traces. Prints the counts and writes
benchmarks/results/kill.json; ends with code 1 at the first run that does not go on, or ends otherwise.
"""

import argparse
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console

import regard.training.trainer as trainer
from regard.config import RunConfig, parse_run
from regard.training.checkpoint import CheckpointStore
from regard.training.loop import Loop
from regard.training.saving import Saver
from regard.training.state import versions

RESULTS = Path(__file__).parent / "results" / "kill.json"
WORDS = {"red": "rot", "cat": "Katze", "dog": "Hund", "runs": "rennt", "two": "zwei", "the": "der"}
VALIDATE_EVERY = 3  # steps; a checkpoint is written then
AIMED = 0.5  # of the kills
PATIENCE = 3  # validations without a new best: here, what ends the run
MOST_A_RUN = 8
FARTHEST = 4  # times that a process comes to the phase of an aimed kill, at most
LONGEST_LIFE = 300.0  # seconds; a process that takes longer hangs
CLOCKS = {"seconds", "tokens_per_second", "timed_tokens"}

STARTING, PREPARING, TRAINING, VALIDATING, CHECKPOINT, MODEL, ENDING = PHASES = (
    "starting",
    "preparing the data",
    "training",
    "validating",
    "writing a checkpoint",
    "writing the model",
    "ending",
)


def write_corpus(directory: Path) -> None:
    rng = random.Random(0)
    for name, pairs in (("train", 150), ("more", 40), ("validation", 12)):
        sources = [rng.choices(list(WORDS), k=rng.randint(2, 12)) for _ in range(pairs)]
        lines = [" ".join(source) + "\t" + " ".join(WORDS[word] for word in source) for source in sources]
        (directory / f"{name}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def small_run(corpus: Path, steps: int) -> RunConfig:
    """Every part of the state is at work: dropout, Adam, the average of the weights, a mixture of two corpora,
    accumulation, streams, the spike guard, the counts of early stopping, the best and the last checkpoints. Products
    are in bfloat16, and wide enough for several threads."""
    size = {"width": 64, "heads": 4, "ffn_width": 128, "encoder_depth": 1, "decoder_depth": 1}
    return parse_run(
        {
            "seed": 6,
            "data": {
                "train": [{"tsv": str(corpus / "train.tsv")}, {"tsv": str(corpus / "more.tsv")}],
                "validation": [{"tsv": str(corpus / "validation.tsv")}],
                "temperature": 2.0,
                "workers": 1,
            },
            "tokenizer": {"vocab_size": 320},
            "model": {"preset": "tiny", "dropout": 0.2, **size},
            "training": {
                "steps": steps,
                "patience": PATIENCE,
                "batch_tokens": 256,
                "accumulation": 2,
                "streams": 2,
                "log_every": 2,
                "validate_every": VALIDATE_EVERY,
                "score_examples": 0,
                "keep_last": 2,
                "keep_best": 2,
                "ema": 0.6,
                "average": "ema",
                "dtype": "mixed_bfloat16",
                "spike_deviations": 6.0,
                "schedule": {"name": "inverse_sqrt", "peak": 0.8, "warmup_steps": 4},
            },
        }
    )


class Watch:
    """What a process is at, and whether its thread is at a checkpoint: two bytes that it shares with its parent."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 2)

    @property
    def phase(self) -> str:
        return CHECKPOINT if self._shared[1] else PHASES[self._shared[0]]

    def set_up(self) -> None:
        """Let what this process does from now on tell its phase."""
        self._during(trainer, "_find_start", PREPARING)
        self._during(Loop, "_validate", VALIDATING)
        self._during(trainer, "_finish", MODEL)
        self._after(Loop, "_advance", TRAINING)  # the first step is traced, which belongs to the start
        self._after(trainer, "_finish", ENDING)
        self._during(Saver, "_write", CHECKPOINT, byte=1)  # beside the other phases, in a thread

    def _during(self, owner: Any, name: str, phase: str, *, byte: int = 0) -> None:
        inner = getattr(owner, name)

        def told(*arguments: Any, **more: Any) -> Any:
            before, self._shared[byte] = self._shared[byte], PHASES.index(phase)
            try:
                return inner(*arguments, **more)
            finally:
                self._shared[byte] = before

        setattr(owner, name, told)

    def _after(self, owner: Any, name: str, phase: str) -> None:
        inner = getattr(owner, name)

        def told(*arguments: Any, **more: Any) -> Any:
            result = inner(*arguments, **more)
            self._shared[0] = PHASES.index(phase)
            return result

        setattr(owner, name, told)


class Lived(NamedTuple):
    """How an undisturbed process spent its life."""

    spent: dict[str, float]  # seconds, by phase
    visits: dict[str, int]

    @property
    def seconds(self) -> float:
        return sum(self.spent.values())

    def a_visit(self, phase: str) -> float:
        """Seconds that a phase lasts once it is come to."""
        return self.spent[phase] / self.visits[phase]

    def left(self, done: float) -> float:
        """Seconds that a process has to live where that share of the steps is done."""
        return self.seconds - done * sum(self.spent[phase] for phase in (TRAINING, VALIDATING, CHECKPOINT))


class Life:
    """A process that trains in a directory until it is done or killed."""

    def __init__(self, run: RunConfig, directory: Path) -> None:
        self.log = directory.with_name(directory.name + ".stderr")
        self.visits: Counter[str] = Counter({STARTING: 1})  # how often it came to each phase
        self.spent = dict.fromkeys(PHASES, 0.0)  # seconds in each
        self.watch, self._seen, self._looked = Watch(), STARTING, time.monotonic()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._live(run, directory)

    def _live(self, run: RunConfig, directory: Path) -> None:
        code = 1
        try:
            with self.log.open("w") as file:
                os.dup2(file.fileno(), 2)
                self.watch.set_up()
                trainer.train(run, directory, console=Console(file=file))
                code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def wait(self, seconds: float, *, until: str | None = None, visit: int = 1) -> int | None:
        """The exit status, or None where it lives on after so many seconds, or has come to a phase so often."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return status
            self._look()
            if until is not None and self.visits[until] >= visit:
                return None
            time.sleep(0.001)
        return None

    def kill(self) -> int:
        """Kill it; the exit status, which is that of its own end where it was faster."""
        os.kill(self._pid, signal.SIGKILL)
        return os.waitpid(self._pid, 0)[1]

    def to_its_end(self) -> Lived:
        """Raises SystemExit where the end is not a good one."""
        status = self.wait(LONGEST_LIFE)
        if status != 0:
            if status is None:
                self.kill()
            raise SystemExit(f"an undisturbed run did not end well: status {status}\n{self.log.read_text('utf-8')}")
        # A short phase may come and go between two looks: it is aimed at all the same.
        return Lived(self.spent, {phase: max(1, self.visits[phase]) for phase in PHASES})

    def _look(self) -> None:
        now, phase = time.monotonic(), self.watch.phase
        self.spent[self._seen] += now - self._looked
        self.visits[phase] += phase != self._seen
        self._seen, self._looked = phase, now


def half_written(directory: Path) -> list[str]:
    """What a kill has left unfinished."""
    checkpoints = (directory / "checkpoints").glob("step-*")
    found = {
        "a checkpoint": any(not (entry / "manifest.json").exists() for entry in checkpoints),
        "the model": any(directory.glob(".model-*")),
    }
    return [name for name, there in found.items() if there]


def without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_clocks(each) for key, each in value.items() if key not in CLOCKS}
    return value


def outcome(directory: Path) -> dict[str, Any]:
    """All that a run leaves behind: file -> hash, or content where it holds clocks."""
    found: dict[str, Any] = {}
    for path in sorted([*directory.glob("checkpoints/**/*"), *directory.glob("model/*"), *directory.glob(".model*")]):
        name = str(path.relative_to(directory))
        if path.is_dir() or path.name == "manifest.json":  # which holds the hash of state.json
            found[name] = "there"
        elif path.name == "state.json":
            found[name] = without_clocks(json.loads(path.read_text("utf-8")))
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = (directory / "metrics.jsonl").read_text("utf-8").splitlines()
    found["metrics.jsonl"] = [without_clocks(json.loads(line)) for line in lines]
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    return (name for name in sorted({*one, *other}) if one.get(name) != other.get(name))


class Tally:
    """Where the kills fell, by phase, and what they left half-written."""

    def __init__(self) -> None:
        self.where: Counter[str] = Counter()
        self.half_written: Counter[str] = Counter()

    def add(self, phase: str, unfinished: Iterable[str]) -> None:
        self.where[phase] += 1
        self.half_written.update(unfinished)

    def record(self) -> dict[str, dict[str, int]]:
        """Every phase, those in which no kill fell too: a reader must see what was not tried."""
        return {"where": {phase: self.where[phase] for phase in PHASES}, "half_written": dict(self.half_written)}


class Campaign:
    """One run directory under fire."""

    def __init__(
        self, run: RunConfig, directory: Path, lived: Lived, last_step: int, rng: random.Random, tally: Tally
    ) -> None:
        """lived, last_step: of an undisturbed process."""
        self.run, self.directory, self.rng, self.tally = run, directory, rng, tally
        self.lived, self.last_step = lived, last_step
        self.kills = self.resumed = 0

    def fight(self, most: int) -> bool:
        """Kill it `most` times or until it ends by itself first; whether it ended well."""
        while True:
            life = Life(self.run, self.directory)
            status = self._attack(life) if self.kills < most else life.wait(LONGEST_LIFE)
            if status is None:
                life.kill()
                print(f"{self.directory}: a process hangs:\n{life.log.read_text('utf-8')}", flush=True)
                return False
            killed = os.WIFSIGNALED(status)
            if not killed and status != 0:
                print(f"{self.directory}: a process failed:\n{life.log.read_text('utf-8')}", flush=True)
                return False
            self.resumed += self.kills > self.resumed  # the kill before this life did no harm to it
            if not killed:
                return True
            self.kills += 1
            self.tally.add(life.watch.phase, half_written(self.directory))

    def _attack(self, life: Life) -> int:
        status, most = None, self.lived.left(self._done())
        if self.rng.random() < AIMED:
            phase = self.rng.choice(PHASES)
            visit = self.rng.randint(1, min(FARTHEST, self.lived.visits[phase]))
            status, most = life.wait(LONGEST_LIFE, until=phase, visit=visit), self.lived.a_visit(phase)
        if status is None:
            status = life.wait(self.rng.random() * most)
        return life.kill() if status is None else status

    def _done(self) -> float:
        """The share of the steps that the next process finds done."""
        saved = CheckpointStore(self.directory / "checkpoints").complete()
        return int(saved[-1].name.removeprefix("step-")) / self.last_step if saved else 0.0


def campaigns(run: RunConfig, place: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Undisturbed runs, then campaigns until there were so many kills, or one failed."""
    undisturbed, twin = place / "undisturbed", place / "twin"
    lived = Life(run, undisturbed).to_its_end()
    Life(run, twin).to_its_end()
    expected, tally = outcome(undisturbed), Tally()
    final = expected["metrics.jsonl"][-1]
    done = {
        "kills": 0,
        "resumed": 0,
        "equal": 0,
        "runs": 0,
        "failed": 0,
        "twins_equal": not any(differences(outcome(twin), expected)),
    }
    while done["kills"] < kills and not done["failed"]:
        directory = place / f"run-{done['runs']:04d}"
        campaign = Campaign(run, directory, lived, final["step"], rng, tally)
        ended = campaign.fight(min(kills - done["kills"], rng.randint(1, MOST_A_RUN)))
        wrong = list(differences(outcome(directory), expected)) if ended else ["the run did not end"]
        if wrong:
            print(f"{directory} differs: {', '.join(wrong)}", flush=True)
        else:
            shutil.rmtree(directory)
        done["runs"] += 1
        done["failed"] += bool(wrong)
        done["kills"] += campaign.kills
        done["resumed"] += campaign.resumed
        done["equal"] += 0 if wrong else campaign.kills
        print(f"\r{done['kills']} kills, {done['resumed']} resumed, {done['equal']} equal", end="", flush=True)
    print()
    undisturbed_life = {phase: round(seconds, 3) for phase, seconds in lived.spent.items()}
    return {**done, **tally.record(), "life_seconds": undisturbed_life, "ended": final["reason"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=45, help="of each run, unless it stops early")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    arguments = parser.parse_args()
    began = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="regard-kill-"))
    write_corpus(place)
    found = campaigns(small_run(place, arguments.steps), place, arguments.kills, random.Random(arguments.seed))
    for name, number in found["where"].items():
        print(f"{number:6} killed while {name}")
    for name, number in found["half_written"].items():
        print(f"{number:6} left {name} half-written")
    seconds = round(time.monotonic() - began, 1)
    good = found["kills"] == found["resumed"] == found["equal"] and not found["failed"] and found["twins_equal"]
    print(f"two undisturbed runs are {'equal' if found['twins_equal'] else 'NOT equal'}, and ended: {found['ended']}")
    print(f"{seconds} s")
    if good:
        shutil.rmtree(place)
    else:
        print(f"see {place}")
    record = {**found, "seconds": seconds, "seed": arguments.seed, "steps": arguments.steps}
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(
        json.dumps({**record, "checkpoint_every": VALIDATE_EVERY, "versions": versions()}, indent=1) + "\n", "utf-8"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
