"""`regard inspect RUN` lists a run's checkpoints; no network is needed for it."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from regard.commands import checkpoints
from regard.commands.checkpoints import list_checkpoints, print_checkpoints, refuse_damaged
from regard.errors import CheckpointError
from regard.training.checkpoint import CheckpointStore


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Steps 10 and 20 by schedule, 10 the better one; 25 by a signal."""
    store = CheckpointStore(tmp_path / "checkpoints")
    for step, validated, loss in ((10, 10, 1.5), (20, 20, 2.25), (25, 20, 2.25)):  # the last one is not validated
        state = {"step": step, "validated_step": validated, "score": {"loss": loss, "bleu": None}, "best_step": 10}
        kept = {"10": ["best"], "20": ["last"], str(max(step, 21)): ["newest"]}

        def fill(directory: Path, content: object = {"state": state, "kept": kept}) -> None:
            (directory / "state.json").write_text(json.dumps(content))
            (directory / "model.safetensors").write_bytes(b"w" * 1_000_000)

        store.write(step, fill, 0)
    return tmp_path


def printed(run: Path) -> str:
    output = io.StringIO()
    print_checkpoints(Console(file=output, width=160), run)
    return output.getvalue()


def test_step_score_size_and_reason_are_listed_and_the_best_is_named(run: Path) -> None:
    rows = [line.split() for line in printed(run).splitlines()[2:]]
    assert rows == [
        ["checkpoint", "loss", "MB", "kept", "as", "files"],
        ["step-00000010", "1.5", "1.00", "the", "best", "hashes", "hold"],
        ["step-00000020", "2.25", "1.00", "last", "hashes", "hold"],
        ["step-00000025", "1.00", "newest", "hashes", "hold"],
    ]


def test_a_flipped_bit_a_missing_file_and_a_missing_manifest_are_named(run: Path) -> None:
    first, second, third = (run / "checkpoints" / f"step-000000{step}" for step in (10, 20, 25))
    content = bytearray((first / "model.safetensors").read_bytes())
    content[5] ^= 1
    (first / "model.safetensors").write_bytes(content)
    (second / "state.json").unlink()
    (third / "manifest.json").unlink()
    assert [each.complaint for each in list_checkpoints(run)] == [
        "model.safetensors is damaged: its SHA-256 is not what manifest.json says",
        "is damaged: state.json is missing",
        "not whole: it has no manifest",
    ]
    with pytest.raises(
        CheckpointError, match=r"2 of the 3 checkpoints of .* are damaged \(step-00000010, step-00000020\)"
    ):
        refuse_damaged(run, list_checkpoints(run))


def test_what_was_set_aside_and_what_a_kill_left_are_listed_too(run: Path) -> None:
    for name in ("step-00000030.damaged", "step-00000035.tmp"):
        (run / "checkpoints" / name).mkdir()
    found = {each.name: each.complaint for each in list_checkpoints(run)}
    assert found["step-00000030.damaged"] == "set aside: damaged"
    assert found["step-00000035.tmp"] == "not whole: written when the process ended"
    refuse_damaged(run, list_checkpoints(run))  # which says nothing: no training goes on from these


def test_a_checkpoint_that_training_removes_meanwhile_is_left_out(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def verified_and_gone(path: Path) -> None:
        if path.name == "step-00000010":
            shutil.rmtree(path)

    monkeypatch.setattr(checkpoints, "verify", verified_and_gone)
    assert [each.name for each in list_checkpoints(run)] == ["step-00000020", "step-00000025"]


def test_a_directory_without_checkpoints_prints_nothing(tmp_path: Path) -> None:
    assert printed(tmp_path) == ""
