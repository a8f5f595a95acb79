"""Kills training at random moments, goes on with it, and compares all that it leaves behind, bit by bit.

    python benchmarks/kill.py [--kills 100] [--steps 45] [--seed 0]

One small run is trained undisturbed, twice, and then again and again under fire: a process trains, is killed with
SIGKILL, and another goes on in the same directory, until one lives to the end. Then the model, each checkpoint and the
log must equal the undisturbed run's; only clocks are left out. One kill in five, and every other one of a run's first
process, comes while a process starts: it prepares the data, builds the network, traces its graph. The others come after
it has begun to write a checkpoint; it writes one every three steps, so that many of them fall in the midst of it. The
directory tells afterwards where each fell.

Processes are forked from one that has imported TensorFlow and done nothing with it, which saves 5 s each; the
source must not be edited meanwhile, for TensorFlow reads it when it traces. Prints the counts and writes
benchmarks/results/kill.json; ends with code 1 at the first run that does not go on, or ends otherwise.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console

from regard.config import RunConfig, parse_run
from regard.training.state import versions
from regard.training.trainer import train

RESULTS = Path(__file__).parent / "results" / "kill.json"
WORDS = {"red": "rot", "cat": "Katze", "dog": "Hund", "runs": "rennt", "two": "zwei", "the": "der"}
VALIDATE_EVERY = 3  # steps; a checkpoint is written then
AT_THE_START, AT_THE_FIRST_START = 0.2, 0.5  # of the kills
MOST_A_RUN = 8
FARTHEST = 4  # checkpoints that a process begins before it is killed
LONGEST_LIFE = 300.0  # seconds; a process that takes longer hangs
CLOCKS = {"seconds", "tokens_per_second", "timed_tokens"}


def write_corpus(directory: Path) -> None:
    rng = random.Random(0)
    for name, pairs in (("train", 150), ("validation", 12)):
        sources = [rng.choices(list(WORDS), k=rng.randint(2, 12)) for _ in range(pairs)]
        lines = [" ".join(source) + "\t" + " ".join(WORDS[word] for word in source) for source in sources]
        (directory / f"{name}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def small_run(corpus: Path, steps: int) -> RunConfig:
    """Every part of the state is at work: dropout, Adam, the spike guard, the best and the last checkpoints."""
    size = {"width": 8, "heads": 2, "ffn_width": 8, "encoder_depth": 1, "decoder_depth": 1}
    return parse_run(
        {
            "seed": 5,
            "data": {
                "train": [{"tsv": str(corpus / "train.tsv")}],
                "validation": [{"tsv": str(corpus / "validation.tsv")}],
                "workers": 1,
            },
            "tokenizer": {"vocab_size": 320},
            "model": {"preset": "tiny", "dropout": 0.2, **size},
            "training": {
                "steps": steps,
                "patience": steps,
                "batch_tokens": 128,
                "log_every": 2,
                "validate_every": VALIDATE_EVERY,
                "score_examples": 0,
                "keep_last": 2,
                "keep_best": 2,
                "average": "last",
                "dtype": "float32",
                "spike_deviations": 6.0,
                "schedule": {"name": "inverse_sqrt", "peak": 0.02, "warmup_steps": 4},
            },
        }
    )


class Life:
    """A process that trains in a directory until it is done or killed."""

    def __init__(self, run: RunConfig, directory: Path) -> None:
        self.checkpoints = directory / "checkpoints"
        self.log = directory.with_name(directory.name + ".stderr")
        self._before = self._names()
        self._begun: set[str] = set()
        self._began = time.monotonic()
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            self._live(run, directory)

    def _live(self, run: RunConfig, directory: Path) -> None:
        code = 1
        try:
            with self.log.open("w") as file:
                os.dup2(file.fileno(), 2)
                train(run, directory, console=Console(file=file))
                code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def wait(self, seconds: float, *, checkpoints: int | None = None) -> int | None:
        """The exit status, or None where it lives on after so many seconds, or has begun so many checkpoints."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return status
            self._begun |= {name.partition(".")[0] for name in self._names() - self._before}
            if checkpoints is not None and len(self._begun) >= checkpoints:
                return None
            time.sleep(0.001)
        return None

    def kill(self) -> int:
        """Kill it; the exit status, which is that of its own end where it was faster."""
        os.kill(self._pid, signal.SIGKILL)
        return os.waitpid(self._pid, 0)[1]

    def to_its_end(self) -> tuple[float, float]:
        """Seconds to its first checkpoint, and to its good end."""
        status = self.wait(LONGEST_LIFE, checkpoints=1)
        until_saved = time.monotonic() - self._began
        status = self.wait(LONGEST_LIFE) if status is None else status
        if status != 0:
            if status is None:
                self.kill()
            raise SystemExit(f"an undisturbed run did not end well: status {status}\n{self.log.read_text('utf-8')}")
        return until_saved, time.monotonic() - self._began

    @property
    def saves(self) -> bool:
        """Whether it has begun to write a checkpoint."""
        return bool(self._begun)

    def _names(self) -> set[str]:
        return set(os.listdir(self.checkpoints)) if self.checkpoints.is_dir() else set()


def fell(life: Life, directory: Path) -> str:
    """What a process was at when it was killed, as its directory tells."""
    if not (directory / "data" / "manifest.json").exists():
        return "preparing the data"
    entries = list((directory / "checkpoints").glob("step-*"))
    if any(not (entry / "manifest.json").exists() for entry in entries):
        return "writing or removing a checkpoint"
    if any(directory.glob(".model-*")):
        return "writing the model"
    if (directory / "model").exists():
        return "after writing the model"
    return "training" if life.saves else "starting"


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


class Campaign:
    """One run directory under fire."""

    def __init__(self, run: RunConfig, directory: Path, seconds: tuple[float, float], rng: random.Random) -> None:
        """seconds: `Life.to_its_end` of an undisturbed one."""
        self.run, self.directory, self.rng = run, directory, rng
        self.until_saved, until_done = seconds
        steps = run.training.steps or 0
        self.between_checkpoints = (until_done - self.until_saved) * VALIDATE_EVERY / steps
        self.kills = self.resumed = 0
        self.where: Counter[str] = Counter()

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
            self.where[fell(life, self.directory)] += 1

    def _attack(self, life: Life) -> int:
        if self.rng.random() < (AT_THE_START if self.kills else AT_THE_FIRST_START):
            status = life.wait(self.rng.random() * self.until_saved)
        else:
            status = life.wait(LONGEST_LIFE, checkpoints=self.rng.randint(1, FARTHEST))
            if status is None:
                status = life.wait(self.rng.random() * self.between_checkpoints)
        return life.kill() if status is None else status


def campaigns(run: RunConfig, place: Path, kills: int, rng: random.Random) -> dict[str, Any]:
    """Undisturbed runs, then campaigns until there were so many kills, or one failed."""
    undisturbed, twin = place / "undisturbed", place / "twin"
    seconds = Life(run, undisturbed).to_its_end()
    Life(run, twin).to_its_end()
    expected = outcome(undisturbed)
    done = {
        "kills": 0,
        "resumed": 0,
        "equal": 0,
        "runs": 0,
        "failed": 0,
        "twins_equal": not any(differences(outcome(twin), expected)),
    }
    where: Counter[str] = Counter()
    while done["kills"] < kills and not done["failed"]:
        directory = place / f"run-{done['runs']:04d}"
        campaign = Campaign(run, directory, seconds, rng)
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
        where += campaign.where
        print(f"\r{done['kills']} kills, {done['resumed']} resumed, {done['equal']} equal", end="", flush=True)
    print()
    return {**done, "where": dict(where.most_common()), "life_seconds": round(seconds[1], 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=45, help="of each run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    arguments = parser.parse_args()
    began = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="regard-kill-"))
    write_corpus(place)
    found = campaigns(small_run(place, arguments.steps), place, arguments.kills, random.Random(arguments.seed))
    for name, number in found["where"].items():
        print(f"{number:6} killed while {name}")
    seconds = round(time.monotonic() - began, 1)
    good = found["kills"] == found["resumed"] == found["equal"] and not found["failed"] and found["twins_equal"]
    print(f"two undisturbed runs are {'equal' if found['twins_equal'] else 'NOT equal'}; {seconds} s")
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
