"""Whole runs at toy size with frozen weights, an average of the weights, and a search for the rate before them."""

import hashlib
import importlib.util
import io
import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from regard.commands.find_rate import _advice, _caution
from regard.config import RunConfig
from regard.errors import ConfigError, TrainingInterrupted
from regard.interop.checkpoints import load_model
from regard.training.rate_finder import REACH, Trial, blur, enough_steps, find_rate, rising, smoothed, suggest
from regard.training.trainer import train

sys.path.append(str(Path(__file__).parent))

from whole_runs import quiet

SETTINGS: dict[str, Any] = {
    "steps": 4,
    "validate_every": 2,
    "ema": 0.9,
    "average": "ema",
    "freeze": ["encoder/layer_0/*"],
    "optimizer": {"name": "muon", "weight_decay": 0.1, "groups": [{"pattern": "*/bias", "rate": 2.0}]},
}


@pytest.fixture(scope="module")
def averaged_run(
    toy_run: Callable[..., RunConfig], undisturbed: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    directory, output = tmp_path_factory.mktemp("averaged"), io.StringIO()
    shutil.copytree(undisturbed / "data", directory / "data")
    train(toy_run(**SETTINGS), directory, console=Console(file=output))
    return directory, output.getvalue()


def test_a_run_says_how_many_parameters_it_trains(averaged_run: tuple[Path, str]) -> None:
    directory, said = averaged_run
    model = load_model(directory / "model")
    sizes = {each.path: math.prod(each.shape) for each in model.trainable_variables}
    frozen = sum(size for path, size in sizes.items() if path.startswith("encoder/layer_0/"))
    assert f"{sum(sizes.values()) - frozen:,} parameters are trained, {frozen:,} are frozen" in said


def test_the_model_written_is_the_average_at_the_best_checkpoint_and_has_its_score(
    averaged_run: tuple[Path, str], records: Callable[[Path], list[dict[str, Any]]]
) -> None:
    directory, _ = averaged_run
    final = records(directory)[-1]
    [best] = [directory / "checkpoints" / name for name in final["checkpoints"]]
    tensors = load_file(best / "training_state.safetensors")
    model, raw = load_model(directory / "model"), load_model(best)
    differing = 0
    for one, other in zip(model.trainable_variables, raw.trainable_variables, strict=True):
        average = tensors.get(f"optimizer/{one.path.replace('/', '_')}_average")
        assert (average is None) == one.path.startswith("encoder/layer_0/")
        np.testing.assert_array_equal(one.numpy(), other.numpy() if average is None else average)
        differing += average is not None and not np.array_equal(one.numpy(), other.numpy())
    assert differing > 10
    validated = {line["step"]: line["loss"] for line in records(directory) if line["kind"] == "validation"}
    assert final["loss"] == validated[final["model_step"]]


def test_a_run_with_an_average_and_frozen_weights_goes_on_with_the_same_bits(
    toy_run: Callable[..., RunConfig],
    averaged_run: tuple[Path, str],
    tmp_path: Path,
    assert_as_if_nothing_had_happened: Callable[[Path, Path], None],
) -> None:
    directory, _ = averaged_run
    shutil.copytree(directory / "data", tmp_path / "run" / "data")
    asked = iter(range(100))
    with pytest.raises(TrainingInterrupted):
        train(toy_run(**SETTINGS), tmp_path / "run", stop=lambda: next(asked) > 2, console=quiet())
    train(toy_run(**SETTINGS), tmp_path / "run", console=quiet())
    assert_as_if_nothing_had_happened(tmp_path / "run", directory)


def test_what_the_scores_are_of_cannot_change_when_a_run_goes_on(
    toy_run: Callable[..., RunConfig], averaged_run: tuple[Path, str]
) -> None:
    for changed in ({"average": "none"}, {"ema": 0.99}, {"freeze": []}):
        with pytest.raises(ConfigError, match=f"training.{next(iter(changed))} cannot change when a run goes on"):
            train(toy_run(**{**SETTINGS, **changed}), averaged_run[0], console=quiet())


def test_a_search_for_the_rate_leaves_no_trace_in_a_run(toy_run: Callable[..., RunConfig], done: Path) -> None:
    def content() -> dict[str, str]:
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in done.rglob("*") if path.is_file()}

    before = content()
    found = find_rate(toy_run(), done, low=1e-4, high=1e3, steps=24, console=quiet())
    assert {name for name in content().keys() ^ before.keys() if "lock" not in name} == set()
    assert all(content()[name] == digest for name, digest in before.items())
    assert [trial.rate for trial in found.trials] == pytest.approx(rising(1e-4, 1e3, 24)[: len(found.trials)])
    assert "times its lowest" in found.ended or "not finite" in found.ended
    assert found.suggested is not None
    assert 1e-4 < found.suggested < 10
    again = find_rate(toy_run(), done, low=1e-4, high=1e3, steps=24, console=quiet())
    assert again == found


def test_the_rate_suggested_is_where_the_loss_falls_fastest_before_its_lowest_point() -> None:
    rates = rising(1e-6, 1.0, 61)
    losses = [
        5 - 3 / (1 + math.exp(-4 * (math.log10(rate) + 3))) + max(0, math.log10(rate) + 1) ** 2 * 9 for rate in rates
    ]
    trials = [Trial(rate, loss, loss) for rate, loss in zip(rates, losses, strict=True)]
    assert suggest(trials) == pytest.approx(1e-3, rel=0.3)
    assert suggest([Trial(rate, 1.0 + rate, 1.0 + rate) for rate in rates]) is None
    assert suggest([]) is None


@pytest.mark.parametrize(("low", "high", "steps"), [(1e-7, 1.0, 100), (1e-7, 1.0, 12), (1e-4, 1e-1, 10)])
def test_a_rate_is_found_no_better_than_smoothing_lets_it(low: float, high: float, steps: int) -> None:
    rates = rising(low, high, steps)
    assert blur(low, high, steps) == pytest.approx(rates[-1] / rates[max(0, steps - 1 - REACH)])
    enough = enough_steps(low, high)
    assert blur(low, high, enough) <= 10.0001 < blur(low, high, enough - 1)
    assert "up to that factor" in _caution(blur(low, high, enough), low, high)
    assert f"give --steps {enough} or more" in _caution(blur(low, high, 12), low, high)


def test_smoothing_weighs_the_last_losses_most() -> None:
    assert smoothed([3.0]) == 3.0
    assert smoothed([1.0, 2.0]) == pytest.approx((0.9 * 1 + 2) / 1.9)
    assert smoothed([4.0] * 50) == pytest.approx(4.0)


def test_rates_that_do_not_rise_are_refused() -> None:
    for low, high, steps in ((0.0, 1.0, 50), (1.0, 0.1, 50), (1e-3, math.inf, 50), (1e-3, 1.0, 3)):
        with pytest.raises(ConfigError):
            rising(low, high, steps)


def test_the_verb_prints_a_table_and_writes_it(
    toy_run: Callable[..., RunConfig], done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from regard.cli import main

    table = tmp_path / "rates.csv"
    arguments = ["find-rate", str(done), "--from", "1e-4", "--to", "1e-1", "--steps", "10", "--csv", str(table)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rate", "loss", "smoothed"]
    assert len(lines) == 1 + 10 + 3
    assert lines[-1].startswith("WARNING: that is a guess")
    assert lines[-1].endswith("rose 1,000-fold; give --steps 31 or more, or a --from and a --to that are nearer to it")
    assert len(table.read_text("utf-8").splitlines()) == 11
    chart = tmp_path / "rates.png"
    drawn = ["--png", str(chart)] if importlib.util.find_spec("matplotlib") else []
    assert main([*arguments[:-2], "--json", *drawn]) == 0
    assert not drawn or chart.read_bytes().startswith(b"\x89PNG")
    found = json.loads(capsys.readouterr().out)
    assert found["factor"] == pytest.approx(1000)
    assert [f"{trial['loss']:.4f}" for trial in found["trials"]] == [line.split()[1] for line in lines[1:11]]


def test_the_advice_is_a_peak_that_the_scale_makes_the_rate(toy_run: Callable[..., Any]) -> None:
    for scale, said in (
        (1.0, "peak = 2.0e-03"),
        (4.0, r"peak = 5.0e-04, which training.schedule.scale = 4 multiplies"),
    ):
        run = toy_run(schedule={"name": "constant", "peak": 1.0, "scale": scale})
        assert _advice(2e-3, run).endswith(f"set training.schedule.{said}")
    assert "scale, so that the highest rate is 2.0e-03" in _advice(2e-3, toy_run(schedule={"name": "paper"}))
    assert _advice(None, toy_run()).startswith("no rate is suggested")
