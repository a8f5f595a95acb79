"""From a case to its directory: draw, save, edit, read back, record, write."""

import json
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from oracle import generation, inputs, outputs
from oracle.case import Arrays, Case, Model, Unfit
from oracle.weights import randomise

ATTEMPTS = 2000


def make(case: Case, target: Path) -> int:
    """Write the case's directory `target` anew; returns how many sets of random weights it took."""
    for attempt in range(ATTEMPTS):
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / "case"
            try:
                write(case, directory, attempt)
            except Unfit as why:
                reason = why
                continue
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(directory, target, copy_function=shutil.copyfile)  # not with safetensors' mode 600
            return attempt + 1
    raise AssertionError(f"{case.name}: no random weights fit, lastly because {reason}")


def write(case: Case, directory: Path, attempt: int) -> None:
    seed = zlib.crc32(case.name.encode())
    model = drawn(case, torch.Generator().manual_seed(seed + attempt))
    batches = inputs.calls(case, np.random.default_rng([seed, attempt]))
    if case.suite or case.searches:
        batches["prompt"] = generation.prompts(case, np.random.default_rng([seed, attempt, 1]))
        generation.check_promising(case, model, batches["prompt"])
    save(case, model, directory)
    read = read_back(case, directory, model)
    recorded = outputs.record(case, read, {call: batch for call, batch in batches.items() if call != "prompt"})
    outputs.pooled(case, recorded, batches, directory)
    found = generation.record(case, read, batches["prompt"]) if "prompt" in batches else {}
    more = case.record(read, directory, np.random.default_rng([seed, attempt, 2])) if case.record is not None else {}
    arrays: Arrays = {}
    for group in (
        {f"{call}/in": batch for call, batch in batches.items()},
        {f"{call}/out": values for call, values in recorded.items()},
        more,
        {f"generate/{name}": result for name, (_, result) in found.items()},
    ):
        arrays |= {f"{name}/{key}": value for name, values in group.items() for key, value in values.items()}
    np.savez_compressed(directory / "case.npz", **arrays)
    write_json(directory / "case.json", described(case, {name: options for name, (options, _) in found.items()}))


def drawn(case: Case, generator: torch.Generator) -> Model:
    """The random model."""
    torch.manual_seed(0)
    model = case.model().eval()
    if case.generation_config:
        model.generation_config._from_model_config = False  # else reading would drop what is Whisper's own
    for key, value in case.generation_config.items():
        setattr(model.generation_config, key, value)
    randomise(model, case.random, generator)
    if case.prepare is not None:
        with torch.no_grad():
            case.prepare(model)
    return model.to(getattr(torch, case.stored))


def save(case: Case, model: Model, directory: Path) -> None:
    """Saved by Transformers, and edited as the case says."""
    model.save_pretrained(directory)
    if case.edit is not None:
        case.edit(directory)
    model.float()


def read_back(case: Case, directory: Path, model: Model) -> Model:
    """The directory as Transformers reads it, in float32: the same model, with nothing missing."""
    read, loading = getattr(transformers, case.architecture).from_pretrained(
        directory, attn_implementation="eager", dtype=torch.float32, output_loading_info=True, **case.options
    )
    missing = [name for name in loading["missing_keys"] if not name.startswith(case.absent)]
    problems = [problem for problem in (missing, loading["mismatched_keys"], loading["error_msgs"]) if problem]
    if problems:
        raise AssertionError(f"{case.name}: Transformers could not read its own file: {problems}")
    theirs = read.state_dict()
    for name, value in model.state_dict().items():
        if not torch.equal(value, theirs[name]) and not name.startswith(case.absent):
            raise AssertionError(f"{case.name}: {name} was not read as it was written")
    return read.eval()


def described(case: Case, searches: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What case.json says."""
    return {
        "family": case.family,
        "head": case.head,
        "architecture": case.architecture,
        "notes": case.notes,
        "transformers": transformers.__version__,
        "compare": "real tokens",
        "generate": [{"name": name, "call": "prompt", "options": options} for name, options in searches.items()],
    }


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
