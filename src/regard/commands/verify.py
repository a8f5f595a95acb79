"""`regard verify`: what a checkpoint gives here against what Transformers makes of it on PyTorch."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regard.batch import Batch
from regard.commands.engine import import_tensorflow
from regard.commands.probe import Probe, probe
from regard.commands.reference import MISSING
from regard.decoding.options import GenerationOptions
from regard.errors import CheckpointError, ConfigError, MissingDependencyError
from regard.tasks.locate import model_place


class Difference(NamedTuple):
    """Of one output."""

    name: str
    largest: float  # |difference|, at real tokens
    of: float  # the largest |value| of Transformers'

    def within(self, tolerance: float) -> bool:
        """Large values have large roundings: above 1 the tolerance is relative."""
        return self.largest <= tolerance * max(1.0, self.of)


class Token(NamedTuple):
    """The first generated token that differs."""

    row: int
    place: int  # from 0
    here: int | None  # None: ended before
    there: int | None


class Verdict(NamedTuple):
    about: dict[str, str]  # architecture, transformers, torch
    outputs: tuple[Difference, ...]
    tokens: int | None  # generated ids that were compared; None: the model generates nothing
    first: Token | None
    equal: bool

    def as_json(self) -> dict[str, Any]:
        outputs = {found.name: {"largest_difference": found.largest, "of": found.of} for found in self.outputs}
        generated = {} if self.tokens is None else {"tokens": self.tokens, "first_difference": _dict(self.first)}
        return {**self.about, "outputs": outputs, "generated": generated or None, "equal": self.equal}


def verify_model(path: str, *, python: str | None, tolerance: float, as_json: bool) -> bool:
    """Print how far apart the two are; whether they are equal."""
    place = model_place(path)
    import_tensorflow()
    verdict = compared(encoder_of(place), python or sys.executable, tolerance)
    if as_json:
        print(json.dumps(verdict.as_json()))
        return verdict.equal
    print(f"{verdict.about['architecture']}, Transformers {verdict.about['transformers']}, "
          f"torch {verdict.about['torch']}")  # fmt: skip
    for found in verdict.outputs:
        print(f"{found.name}: largest |difference| {found.largest:.1e}, of values up to {found.of:.3g}")
    if verdict.tokens is not None:
        print(f"generated: {_described(verdict.tokens, verdict.first)}")
    print(f"{'equal' if verdict.equal else 'NOT equal'} within {tolerance:g}")
    return verdict.equal


def encoder_of(place: Path) -> Path:
    """The directory that Transformers itself loads. Raises CheckpointError where it loads nothing of the kind."""
    from regard.interop.tensors import Tensors
    from regard.tasks.sentence_modules import MODULES, read_modules

    if (place / MODULES).is_file():
        place = read_modules(place).encoder
    if not place.is_dir() or not Tensors.are_in(place):
        raise CheckpointError(
            f"{place} has no safetensors, which is what Transformers loads: regard convert {place} NEW, then verify NEW"
        )
    return place


def compared(place: Path, python: str, tolerance: float) -> Verdict:
    from regard.interop.checkpoints import load_model

    model = load_model(place)
    asked = probe(model.spec)
    theirs, about = reference(place, asked, python)
    output = model(asked.forward)
    outputs = tuple(
        _difference(name, np.asarray(getattr(output, name)), value, asked.forward)
        for name, value in theirs.items()
        if name != "generate" and getattr(output, name, None) is not None
    )
    equal, tokens, first = all(found.within(tolerance) for found in outputs), None, None
    if asked.generate is not None and "generate" in theirs:
        ours = model.generate(asked.generate, _greedy(model.generation_options, asked.new_tokens))
        tokens = int(ours.lengths.sum())
        first = first_difference(ours.sequences[:, 0], ours.lengths[:, 0], theirs["generate"])
    return Verdict(about, outputs, tokens, first, equal and first is None)


def _greedy(options: GenerationOptions, new_tokens: int) -> GenerationOptions:
    """The checkpoint's own rules, for the likeliest tokens."""
    return replace(
        options.resolved(1),
        do_sample=False,
        num_beams=1,
        num_beam_groups=1,
        diversity_penalty=0.0,
        num_return_sequences=1,
        max_new_tokens=new_tokens,
        min_new_tokens=min(options.resolved(1).min_new_tokens, new_tokens),
    )


def reference(place: Path, asked: Probe, python: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What Transformers gives for the probe, by output, and which releases they are.

    Raises MissingDependencyError where that Python has no torch or no transformers, ConfigError where it is none,
    CheckpointError where Transformers does not take the model.
    """
    calls = {"forward": asked.forward, "generate": asked.generate or {}}
    arrays = {f"{call}/{key}": value for call, batch in calls.items() for key, value in batch.items()}
    options = json.dumps({"max_new_tokens": asked.new_tokens})
    script = Path(__file__).with_name("reference.py").read_text("utf-8")
    with tempfile.TemporaryDirectory() as directory:
        np.savez(Path(directory) / "batch.npz", **arrays)
        try:
            finished = subprocess.run(  # by stdin: a path would put this file's neighbours before Python's own modules
                [python, "-", str(place.resolve()), options],
                input=script,
                cwd=directory,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                capture_output=True,
                text=True,
            )
        except OSError as error:
            raise ConfigError(
                f"--python must be a Python that runs, but {python} does not: {error.strerror}"
            ) from error
        if finished.returncode == MISSING:
            raise MissingDependencyError(
                f"verify compares with Transformers on PyTorch, but {python} has no {finished.stdout.strip()}: "
                "pip install torch transformers, or name a Python that has them with --python"
            )
        if finished.returncode or not (Path(directory) / "result.npz").is_file():
            said = finished.stderr.strip().splitlines() or ["it said nothing"]
            raise CheckpointError(f"Transformers ({python}) cannot compute with {place}: {said[-1]}")
        with np.load(Path(directory) / "result.npz") as found:
            about = json.loads(str(found["about"]))
            return {name.removeprefix("forward/"): found[name] for name in found.files if name != "about"}, about


def _difference(name: str, ours: np.ndarray, theirs: np.ndarray, batch: Batch) -> Difference:
    if ours.shape != theirs.shape:
        raise CheckpointError(f"{name} is {ours.shape} here, but {theirs.shape} in Transformers")
    apart, values = np.abs(ours - theirs), np.abs(theirs)
    mask = batch.get("attention_mask")
    by_source = "decoder_input_ids" not in batch or name.startswith("encoder_")
    if mask is not None and by_source and apart.ndim > 1 and apart.shape[:2] == mask.shape:
        apart, values = apart[mask > 0], values[mask > 0]  # what padding gives is nobody's business
    return Difference(name, float(apart.max()), float(values.max()))


def first_difference(ours: np.ndarray, lengths: np.ndarray, theirs: np.ndarray) -> Token | None:
    """ours: (B, T) ids, of which each row has `lengths`, the end included; theirs: (B, T'), padded behind the end."""
    for row, length in enumerate(lengths):
        here = [int(token) for token in ours[row, :length]]
        there = [int(token) for token in theirs[row, :length]]
        for place in range(length):
            other = there[place] if place < len(there) else None
            if here[place] != other:
                return Token(row, place, here[place], other)
    return None


def _described(tokens: int, first: Token | None) -> str:
    if first is None:
        return f"all {tokens} tokens equal"
    there = "nothing" if first.there is None else str(first.there)
    return f"row {first.row} differs from token {first.place} on: {first.here} here, {there} in Transformers"


def _dict(first: Token | None) -> dict[str, int | None] | None:
    return None if first is None else first._asdict()
